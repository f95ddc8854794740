"""Objects off-site: created once and never changed, read in ranges, listed. The only place that speaks to obstore.

Each call is tried again while that may help. There is no way here to change or to remove an object. Leaves out: what
the objects are (``layout``), and what an error means (``answers``).
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from aragora_persist.backup.files import clean_partials, make_directory, partial
from aragora_persist.backup.offsite.answers import translated
from aragora_persist.backup.offsite.location import Bucket, Folder, location
from aragora_persist.cloud.backoff import Backoff
from aragora_persist.errors import ConflictError, NotFoundError, PersistError, UnreachableError, UnsupportedError
from aragora_persist.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore import ObjectMeta, PutResult
    from obstore.store import LocalStore, S3Credential, S3Store

    from aragora_persist.settings import Settings

_OPERATION = "off-site"
_CONNECT_S = 5
_REQUEST_S = 120
"""For one request with all that it carries: a part gets through on 0.6 Mbit/s."""
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0
_GIVE_UP_S = 180
"""After that no attempt is begun: a server that answers nothing at all must not hold up the others for an hour."""
_LOOK_S = 0.05
_NO_OBJECT = "there-is-no-such-object"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; ``tag`` is the server's own mark of its content, on most servers the MD5 of it."""

    name: str
    size_bytes: int
    tag: str

    def holds(self, data: bytes) -> bool:
        """Say whether its tag proves that it holds ``data``; False where that is not known."""
        # Servers that encrypt with keys of their own, and folders, have tags of another kind.
        return self.size_bytes == len(data) and self.tag == hashlib.md5(data, usedforsecurity=False).hexdigest()


class Objects:
    """The objects at the place that the settings name; names have slashes and are relative to it.

    ``stop`` is asked while waiting for the next attempt, and before each. All calls raise ``UnreachableError`` when no
    usable answer came, ``AccessDeniedError`` when the keys may not do this, ``NotFoundError`` when there is no such
    bucket, folder or object, and ``StorageError`` when a folder's files cannot be read or written.

    Raises:
        InvalidValueError: a setting could never work.
        UnsupportedError: the library is not installed.

    """

    def __init__(self, settings: Settings, *, stop: Callable[[], bool] = lambda: False) -> None:
        self._place = location(settings)
        self._stop = stop
        self._store = _open(self._place)

    def url(self, name: str = "") -> str:
        """Return where an object is, or where all of them are; without any secret."""
        return f"{self._place}/{name}".rstrip("/")

    def listing(self, folder: str = "") -> dict[str, StoredObject]:
        """Return the objects in ``folder`` and below it, by their names."""
        return self._call(folder, lambda: self._list(folder))

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of an object from ``start`` up to, and not including, ``end``."""
        return self._call(name, lambda: bytes(self._store.get_range(name, start=start, end=end)))

    def create(self, name: str, data: bytes, known: Mapping[str, StoredObject]) -> bool:
        """Make the object unless there is one (``known`` is a listing); say whether there is now one with ``data``.

        What is there is compared, whoever made it: by its tag where that proves it, otherwise by reading it back. So a
        call whose answer got lost may be repeated, and an upload goes on where another one stopped. An object with
        another content is left as it is.
        """
        there = known.get(name) or self._call(name, lambda: self._put(name, data))
        return there.holds(data) or (there.size_bytes == len(data) and self.read(name, 0, len(data)) == data)

    def _list(self, folder: str) -> dict[str, StoredObject]:
        from obstore.exceptions import PermissionDeniedError  # noqa: PLC0415 - as in `_open`

        found = {one["path"]: _stored(one) for chunk in self._store.list(folder or None) for one in chunk}
        if not found and isinstance(self._place, Bucket):
            # To the library any page is a listing, such as the one on which a network wants its users to sign in. Only
            # an S3 server refuses to give what is not there; a page in its place is an error.
            with suppress(FileNotFoundError, PermissionDeniedError):
                self._store.get_range(f"{folder}/{_NO_OBJECT}".lstrip("/"), start=0, end=1)
        return found

    def _put(self, name: str, data: bytes) -> StoredObject:
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - as in `_open`

        try:
            if isinstance(self._place, Folder):
                _put_into(self._place, name, data)
            else:
                answer = self._store.put(name, data, mode="create", use_multipart=False)
                return StoredObject(name, len(data), _tag(answer))
        except (AlreadyExistsError, ConflictError):
            pass  # perhaps made by an attempt whose answer got lost
        try:
            return _stored(self._store.head(name))
        except FileNotFoundError as error:
            raise UnreachableError(_OPERATION, self.url(name), "is being made by another process") from error

    def _call(self, name: str, work: Callable[[], _Answer]) -> _Answer:
        """Do the work, and do it again a few times, ever more slowly, while no usable answer comes."""
        from obstore.exceptions import BaseError  # noqa: PLC0415 - as in `_open`

        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        attempts, give_up = _ATTEMPTS, time.monotonic() + _GIVE_UP_S
        while True:
            try:
                return work()
            except (BaseError, OSError, PersistError) as error:
                problem = translated(error, self.url(name), self._place.server)
                attempts -= 1
                if not attempts or not isinstance(problem, UnreachableError) or not self._waited(backoff, give_up):
                    # Without the cause: obstore's text is the whole answer, twice, and servers repeat in it what the
                    # request was signed by.
                    raise problem from None

    def _waited(self, backoff: Backoff, give_up: float) -> bool:
        """Wait before the next attempt; return False when there shall be none."""
        until = time.monotonic() + backoff.next_s()
        while not self._stop() and (now := time.monotonic()) < give_up:
            if now >= until:
                return True
            time.sleep(min(_LOOK_S, until - now))
        return False


def _put_into(folder: Folder, name: str, data: bytes) -> None:
    """Make an object in a folder: flushed to the disk before it has its name, which obstore does not do."""
    target = folder.path / name
    _refuse_missing(folder)
    make_directory(target.parent)
    clean_partials(target.parent)
    with partial(target) as file:
        file.path.write_bytes(data)
        file.publish(target, operation=_OPERATION)


def _refuse_missing(folder: Folder) -> None:
    # Like a bucket it is never made here: a disk that is not mounted would be a folder of this machine's own disk.
    if not folder.path.is_dir():
        raise NotFoundError(_OPERATION, folder, "there is no such folder", hint="mount it, or make it")


def _open(place: Folder | Bucket) -> LocalStore | S3Store:
    try:
        from obstore.store import LocalStore, S3Store  # noqa: PLC0415 - slow to load; only who goes off-site needs it
    except ImportError as error:
        problem = "needs the library obstore, which is not installed"
        hint = "pip install 'aragora-persist[backup]'"
        raise UnsupportedError(_OPERATION, place, problem, hint=hint) from error
    if isinstance(place, Folder):
        _refuse_missing(place)
        return LocalStore(place.path)
    secret = place.secret_access_key.reveal()  # once: a file that cannot be read is told of before anything is tried
    return S3Store(
        place.name,
        prefix=place.prefix or None,
        # All that decides who is spoken to, and how: the library would look it up in AWS_* variables, which are there
        # for other programs.
        config={
            "endpoint": place.endpoint,
            "aws_endpoint_url_s3": place.endpoint,
            "region": place.region,
            "checksum_algorithm": "sha256",
            "conditional_put": "etag",
            "virtual_hosted_style_request": False,
            "skip_signature": False,
            "unsigned_payload": False,
            "request_payer": False,
            "s3_express": False,
        },
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=_REQUEST_S),
            "user_agent": f"aragora-persist/{VERSION}",
        },
        retry_config={"max_retries": 0},  # `_call` tries again: it can be stopped, and knows that a PUT may be repeated
        credential_provider=lambda: _credential(place.access_key_id, secret),
    )


def _credential(access_key_id: str, secret: str) -> S3Credential:
    # Given so, it is in no configuration that the library would show, and no AWS_* variable is looked at.
    return {"access_key_id": access_key_id, "secret_access_key": secret, "token": None, "expires_at": None}


def _stored(meta: ObjectMeta) -> StoredObject:
    return StoredObject(meta["path"], meta["size"], _tag(meta))


def _tag(answer: ObjectMeta | PutResult) -> str:
    return (answer["e_tag"] or "").strip('"').lower()
