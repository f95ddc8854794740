"""Frozen records: what ``dataclass(frozen=True, slots=True)`` makes, without loading and running what makes it.

``dataclasses`` loads ``inspect``, and compiles six methods for each class: a third of the time that importing a store
took. Here all records share their methods, but for ``__init__``, which is compiled when it is first needed. Type
checkers see a dataclass, and ``fields``, ``replace`` and ``asdict`` of ``dataclasses`` work as with any other. Leaves
out: defaults, inheritance, and records that change; what needs these, or is seldom imported, takes ``dataclasses``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

__all__ = ["builder", "dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass
    from typing import NoReturn
else:

    def dataclass(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[type], type]:  # noqa: ARG001 - it is both
        """Return what makes a frozen, slotted record of a class, whose annotations are its fields."""
        return lambda cls: _record(cls, kw_only=kw_only)


Record = TypeVar("Record")


def builder(record: type[Record]) -> Callable[..., Record]:
    """Return a function that makes a frozen, slotted dataclass of its fields in their order, in half the time.

    It fills an object of a class with the same slots that is not frozen, and turns it into the record: Python allows
    that between classes of one layout.
    """
    names: tuple[str, ...] = cast("Any", record).__match_args__
    init = _Init([*(f"self.{name} = {name}" for name in names), "self.__class__ = record"], record=record)
    draft = {"__slots__": names, "__annotations__": dict.fromkeys(names, "object"), "__init__": init}
    return cast("Callable[..., Record]", type(record.__name__, (), draft))


def _record(cls: type, *, kw_only: bool) -> type:
    types = cls.__annotations__
    methods = {
        **_METHODS,
        "__init__": _Init([f"set_{name}(self, {name})" for name in types], kw_only=kw_only),
        "__dataclass_fields__": _OfDataclass(kw_only=kw_only),
        "__dataclass_params__": _OfDataclass(kw_only=kw_only),
        "__annotations__": types,
        "__slots__": tuple(types),
        "__match_args__": () if kw_only else tuple(types),
    }
    own = {name: value for name, value in vars(cls).items() if name not in {"__dict__", "__weakref__"}}
    return type(cls)(cls.__name__, cls.__bases__, own | methods)


class _Init:
    """Stands where ``__init__`` will be, and puts it there when it is first looked up."""

    def __init__(self, lines: Iterable[str], *, kw_only: bool = False, **names: object) -> None:
        self._lines = lines
        self._before = "self, *" if kw_only else "self"
        self._names = names

    def __set_name__(self, owner: type, _: str) -> None:
        self._owner: Any = owner

    def __get__(self, instance: object, _: type) -> Callable[..., None]:
        owner = self._owner
        types = owner.__annotations__
        made: dict[str, Any] = {f"set_{name}": vars(owner)[name].__set__ for name in types}
        made |= {"__name__": owner.__module__, **self._names}
        exec("\n ".join([f"def __init__({', '.join([self._before, *types])}):", *self._lines]), made)  # noqa: S102 - names of this package's fields
        init = made["__init__"]
        init.__qualname__ = f"{owner.__qualname__}.__init__"
        init.__annotations__ = {**types, "return": None}
        owner.__init__ = init
        return cast("Callable[..., None]", init if instance is None else init.__get__(instance))


class _OfDataclass:
    """Stands where a dataclass says what it is, and asks one with the same fields when it is first looked up."""

    def __init__(self, *, kw_only: bool) -> None:
        self._kw_only = kw_only

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner: Any = owner
        self._name = name

    def __get__(self, _: object, __: type) -> object:
        from dataclasses import make_dataclass  # noqa: PLC0415 - not to load it is what this module is for

        owner = self._owner
        same = make_dataclass(
            owner.__name__, owner.__annotations__.items(), frozen=True, slots=True, kw_only=self._kw_only
        )
        found: object = getattr(same, self._name)
        setattr(owner, self._name, found)
        return found


def _values(record: Any) -> tuple[object, ...]:  # noqa: ANN401 - any record
    return tuple([getattr(record, name) for name in record.__slots__])


def _repr(self: Any) -> str:  # noqa: ANN401 - any record
    shown = [f"{name}={getattr(self, name)!r}" for name in self.__slots__]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: object, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: object) -> int:
    return hash(_values(self))


def _refuse_change(self: object, name: str, *_: object) -> NoReturn:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - as above

    raise FrozenInstanceError(f"cannot assign to or delete the field {name!r} of a {type(self).__name__}")


def _set_state(self: Any, state: tuple[object, ...]) -> None:  # noqa: ANN401 - any record
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)


def _replace(self: Any, /, **changes: object) -> Any:  # noqa: ANN401 - any record
    return type(self)(**(dict(zip(self.__slots__, _values(self), strict=True)) | changes))


_METHODS = {
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _refuse_change,
    "__delattr__": _refuse_change,
    "__getstate__": _values,
    "__setstate__": _set_state,
    "__replace__": _replace,
}
