"""Values as plain Python, and their two wire forms: Pulumi's property structs and Terraform's msgpack.

Plain means ``None``, ``bool``, ``int``, ``float``, ``str``, lists and dictionaries, and one thing besides: ``UNKNOWN``,
which a preview puts where a value will only be known after the run. Assets and archives are refused, because no docker
resource takes one. Types and names are not known here (``convert``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]  # it ships no types
from google.protobuf import struct_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


class Unknown(enum.Enum):
    """The one value that is not known yet."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
Value: TypeAlias = "bool | int | float | str | Unknown | list[Value] | dict[str, Value] | None"

# Markers of Pulumi's wire form, from its protocol: a dictionary with this key is not a plain dictionary …
_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's marker, the same for everybody
# … and these strings stand for an unknown bool, number, string, array, asset, archive and object.
_UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        _UNKNOWN_STRING,
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
# Terraform's extension types for an unknown value: bare, and refined ("not null", "starts with …").
_MSGPACK_UNKNOWN: Final = 0
_MSGPACK_REFINED_UNKNOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Properties:
    """A decoded property struct: plain values, the top-level keys that hold a secret, and the secret texts themselves.

    The texts are kept so that they can be found again where they turn up uninvited: in an engine's error, in a
    container's log.
    """

    values: dict[str, Value]
    secret_keys: frozenset[str]
    secret_texts: frozenset[str]

    def __repr__(self) -> str:
        return f"Properties({', '.join(sorted(self.values))})"


def decode(struct: struct_pb2.Struct) -> Properties:
    """Read a property struct; secrets are unwrapped and remembered.

    Raises: ValueError for an asset, an archive or another marker that no docker resource takes.
    """
    values: dict[str, Value] = {}
    secret_keys = set()
    secret_texts: set[str] = set()
    for key, wire in struct.fields.items():
        found: list[Value] = []
        values[key] = _decode(wire, found)
        if found:
            secret_keys.add(key)
            secret_texts.update(text for secret in found for text in texts(secret))
    return Properties(values, frozenset(secret_keys), frozenset(secret_texts))


def _decode(wire: struct_pb2.Value, secrets: list[Value]) -> Value:
    match wire.WhichOneof("kind"):
        case "bool_value":
            return wire.bool_value
        case "number_value":
            number = wire.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return UNKNOWN if wire.string_value in _UNKNOWNS else wire.string_value
        case "list_value":
            return [_decode(item, secrets) for item in wire.list_value.values]
        case "struct_value":
            return _decode_struct(wire.struct_value, secrets)
        case _:
            return None


def _decode_struct(struct: struct_pb2.Struct, secrets: list[Value]) -> Value:
    if _SIGNATURE not in struct.fields:
        return {key: _decode(item, secrets) for key, item in struct.fields.items()}
    if struct.fields[_SIGNATURE].string_value != _SECRET:
        raise ValueError("an asset, an archive or a resource reference was given where a plain value is expected")
    value = _decode(struct.fields["value"], secrets)
    secrets.append(value)
    return value


def texts(value: Value) -> Iterator[str]:
    """Yield every string inside a value (numbers and booleans give nothing away by themselves)."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)


def encode(values: Mapping[str, Value], secret_keys: Collection[str] = ()) -> struct_pb2.Struct:
    """Write a property struct; the values of ``secret_keys`` are marked secret."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        if key in secret_keys:
            marked = struct.fields[key].struct_value
            marked.fields[_SIGNATURE].string_value = _SECRET
            _encode(value, marked.fields["value"])
        else:
            _encode(value, struct.fields[key])
    return struct


def _encode(value: Value, wire: struct_pb2.Value) -> None:
    if value is None:
        wire.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, Unknown):
        wire.string_value = _UNKNOWN_STRING
    elif isinstance(value, bool):
        wire.bool_value = value
    elif isinstance(value, int | float):
        wire.number_value = value
    elif isinstance(value, str):
        wire.string_value = value
    elif isinstance(value, list):
        wire.list_value.SetInParent()
        for item in value:
            _encode(item, wire.list_value.values.add())
    else:
        wire.struct_value.SetInParent()
        for key, item in value.items():
            _encode(item, wire.struct_value.fields[key])


def pack(value: Value) -> bytes:
    """Write msgpack as Terraform reads it."""
    packed = msgpack.packb(value, default=_pack_unknown)
    if not isinstance(packed, bytes):
        raise TypeError("msgpack did not answer with bytes")
    return packed


def _pack_unknown(value: object) -> msgpack.ExtType:
    if value is UNKNOWN:
        return msgpack.ExtType(_MSGPACK_UNKNOWN, b"\0")
    raise TypeError(f"a value of type {type(value).__name__} has no msgpack form")


def unpack(data: bytes) -> Value:
    """Read msgpack as Terraform writes it; a refined unknown is an unknown."""
    value: Value = msgpack.unpackb(data, ext_hook=_unpack_unknown)
    return value


def _unpack_unknown(code: int, _: bytes) -> Unknown:
    if code in {_MSGPACK_UNKNOWN, _MSGPACK_REFINED_UNKNOWN}:
        return UNKNOWN
    raise ValueError(f"msgpack extension type {code} is not part of Terraform's protocol")
