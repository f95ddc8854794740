"""The file of a database before SQLite opens it: which places are refused, and with which rights it is made.

Leaves out: what is inside the file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aragora_persist.errors import InvalidValueError, StorageError, UnsupportedError

MEMORY = ":memory:"
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_FILE_SYSTEMS = frozenset(
    (
        *("afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    )
)


def resolve(path: str | os.PathLike[str]) -> Path:
    """Return the one name of this file in this process: absolute, without ``~`` and symbolic links.

    Raises:
        InvalidValueError: there is no such home directory, or the text cannot be a path.

    """
    try:
        return Path(os.path.realpath(Path(path).expanduser()))
    except (RuntimeError, ValueError) as error:
        raise InvalidValueError("open database", repr(os.fspath(path)), f"is no path here: {error}") from error


def is_there(path: Path) -> bool:
    """Say whether there is such a file; others than plain ones are refused: to open a pipe would wait for ever.

    Raises:
        StorageError: something else has its name, or what is there cannot be told.

    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        hint = "this user must be able to read there"
        raise StorageError("open database", path, error.strerror or str(error), hint=hint) from error
    if not stat.S_ISREG(mode):
        problem = "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a file"
        raise StorageError("open database", path, problem, hint="name the database, or move this out of its place")
    return True


def make_ready(path: Path) -> None:
    """Make sure that ``path`` is a file on a local file system; a missing one is made empty (folder 0700, file 0600).

    A restore of it that was killed half-way is completed first.

    Raises:
        BusyError: a restore of it is running, or cannot be completed while another process has the file open.
        DamagedError: an interrupted restore has lost its new file.
        UnsupportedError: the place is on a network file system, or this is Windows.
        StorageError: the folder or the file cannot be made, or something else has its name.

    """
    if os.name == "nt":
        raise UnsupportedError("open database", path, "Windows is not supported", hint="use Linux, macOS or WSL 2")
    if is_being_restored(path):
        from aragora_persist.backup.restore.intent import finish_interrupted_restore  # noqa: PLC0415 - rarely needed at all

        finish_interrupted_restore(path)
    try:
        _make_folder(path.parent)
        refuse_network(path)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            is_there(path)
            return
        sync_folder(path.parent)
    except OSError as error:
        problem = error.strerror or str(error)
        raise StorageError("open database", path, problem, hint="this user must be able to write there") from error


def restore_note(path: Path) -> Path:
    """Where the note about an unfinished restore of the database lies (``backup.restore.intent`` writes it)."""
    return path.with_name(f"{path.name}.restoring")


def is_being_restored(path: Path) -> bool:
    """Say whether a restore of the database has begun to exchange its files and is not complete."""
    return os.path.lexists(restore_note(path))


def refuse_network(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a folder whose locks and shared memory SQLite cannot trust (on Linux; elsewhere mounts are not listed)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return
    kind = file_system(lines, path.parent.stat().st_dev)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise UnsupportedError(
            "open database",
            path,
            f"is on a network file system ({kind}), where SQLite loses data",
            hint="set NOMIC_DIR to a folder on a local disk",
        )


def file_system(mountinfo: list[str], device: int) -> str:
    """Return the type of the mounted file system with this device number, or '' (pure; see proc(5), mountinfo)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo:
        fields, _, source = line.partition(" - ")
        if fields.split()[2] == number:
            return source.split()[0]
    return ""


def sync_folder(folder: Path) -> None:
    """Bring the names inside ``folder`` to disk, so that a file made there is still there after a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
