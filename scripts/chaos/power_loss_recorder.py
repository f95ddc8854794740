"""Records what SQLite writes to its files, under the very library that Python's ``sqlite3`` uses.

SQLite lets a program put a layer of its own between the library and the file system (https://www.sqlite.org/vfs.html).
This one passes every call on and notes what changes a file: writes, truncations, syncs, deletions. It becomes the
default of this process, so that the product under test opens its connections as always. Leaves out: the shared memory
of the write-ahead log's index, which no loss of power leaves anything of. It can also answer for the file system: a
disk that is full.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OK, FULL = 0, 13
_VOID_P, _INT, _INT64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_Write = ctypes.CFUNCTYPE(_INT, _VOID_P, _VOID_P, _INT, _INT64)
_Truncate = ctypes.CFUNCTYPE(_INT, _VOID_P, _INT64)
_Sync = ctypes.CFUNCTYPE(_INT, _VOID_P, _INT)
_Open = ctypes.CFUNCTYPE(_INT, _VOID_P, _VOID_P, _VOID_P, _INT, _VOID_P)
_Delete = ctypes.CFUNCTYPE(_INT, _VOID_P, ctypes.c_char_p, _INT)


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_ = (
        ("iVersion", _INT),
        ("xClose", _VOID_P),
        ("xRead", _VOID_P),
        ("xWrite", _Write),
        ("xTruncate", _Truncate),
        ("xSync", _Sync),
        *((name, _VOID_P) for name in ("xFileSize", "xLock", "xUnlock", "xCheckReservedLock", "xFileControl")),
        *((name, _VOID_P) for name in ("xSectorSize", "xDeviceCharacteristics", "xShmMap", "xShmLock")),
        *((name, _VOID_P) for name in ("xShmBarrier", "xShmUnmap", "xFetch", "xUnfetch")),
    )


class _File(ctypes.Structure):
    """The head of ``sqlite3_file``."""

    _fields_ = (("pMethods", ctypes.POINTER(_Methods)),)


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_ = (
        *((name, _INT) for name in ("iVersion", "szOsFile", "mxPathname")),
        *((name, _VOID_P) for name in ("pNext", "zName", "pAppData")),
        ("xOpen", _Open),
        ("xDelete", _Delete),
        *((name, _VOID_P) for name in ("xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose")),
        *((name, _VOID_P) for name in ("xRandomness", "xSleep", "xCurrentTime", "xGetLastError")),
        *((name, _VOID_P) for name in ("xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall", "xNextSystemCall")),
    )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; ``kind`` says which fields mean something."""

    kind: str
    path: str = ""
    offset: int = 0
    data: bytes = b""
    durable: bool = False


@dataclass(slots=True)
class Recorder:
    """What happened so far, in order."""

    events: list[Event] = field(default_factory=list)
    answer: Callable[[Event], int] = lambda _: OK
    """What is asked before each write; with any other answer it is not done, and SQLite told so."""
    _lock: Lock = field(default_factory=Lock)
    _paths: dict[int, str] = field(default_factory=dict)
    _kept: list[object] = field(default_factory=list)
    _patched: dict[int, ctypes.Structure] = field(default_factory=dict)

    def note(self, event: Event) -> None:
        """Add one thing; before the call that does it returns, so that an acknowledgement is never ahead of it."""
        with self._lock:
            self.events.append(event)

    def install(self) -> None:
        """Become the layer under every connection that this process opens from now on."""
        library = ctypes.CDLL("libsqlite3.so.0")
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        below = library.sqlite3_vfs_find(None)
        own = _Vfs.from_buffer_copy(below.contents)
        name = ctypes.create_string_buffer(b"recorder")
        own.zName = ctypes.cast(name, _VOID_P)
        below_open, below_delete = below.contents.xOpen, below.contents.xDelete

        def open_file(_: int, path: int, file: int, flags: int, out: int) -> int:
            code = int(below_open(ctypes.cast(below, _VOID_P), path, file, flags, out))
            if code == OK and path:
                self._paths[file] = ctypes.string_at(path).decode()
                self._patch(ctypes.cast(file, ctypes.POINTER(_File)).contents)
            return code

        def delete(_: int, path: bytes, sync_folder: int) -> int:
            code = int(below_delete(ctypes.cast(below, _VOID_P), path, sync_folder))
            self.note(Event("delete", path.decode(), durable=bool(sync_folder)))
            return code

        own.xOpen, own.xDelete = _Open(open_file), _Delete(delete)
        self._kept += [own, name, library]
        if library.sqlite3_vfs_register(ctypes.byref(own), 1) != OK:
            raise OSError("SQLite did not take the recorder")

    def _patch(self, file: _File) -> None:
        """Put our methods in the place of a file's own; files of one kind share theirs."""
        address = ctypes.addressof(file.pMethods.contents)
        if address not in self._patched:
            self._patched[address] = self._own_methods(file.pMethods.contents)
        file.pMethods = ctypes.pointer(self._patched[address])

    def _own_methods(self, below: _Methods) -> _Methods:
        own = _Methods.from_buffer_copy(below)
        below_write, below_truncate, below_sync = below.xWrite, below.xTruncate, below.xSync

        def write(file: int, data: int, size: int, offset: int) -> int:
            event = Event("write", self._paths[file], offset, ctypes.string_at(data, size))
            code = self.answer(event) or int(below_write(file, data, size, offset))
            if code == OK:
                self.note(event)
            return code

        def truncate(file: int, size: int) -> int:
            code = int(below_truncate(file, size))
            self.note(Event("truncate", self._paths[file], size))
            return code

        def sync(file: int, flags: int) -> int:
            code = int(below_sync(file, flags))
            self.note(Event("sync", self._paths[file]))
            return code

        own.xWrite, own.xTruncate, own.xSync = _Write(write), _Truncate(truncate), _Sync(sync)
        return own
