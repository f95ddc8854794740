"""The errors of this package: one root, few leaves.

Errors of other libraries are translated into these once, at the boundary (``raise … from``), and never logged
instead of raised. This module imports nothing, so that every other module may import it.
"""

from __future__ import annotations


class PersistError(Exception):
    """An operation of this package failed; nothing of it was kept.

    ``operation`` is what was tried (``"migrate"``, ``"user.create"``), ``target`` the thing it was tried on (a path,
    a database's name, a field), ``problem`` what is wrong with it and ``hint`` the way out. None may hold a secret.
    """

    def __init__(self, operation: str, target: object, problem: str, *, hint: str = "") -> None:
        super().__init__(operation, target, problem, hint)
        self.operation = operation
        self.target = str(target)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        line = f"{self.operation}: {self.target}: {self.problem}"
        return f"{line} ({self.hint})" if self.hint else line


class InvalidValueError(PersistError):
    """A value from outside breaks a rule; ``target`` names the field, ``problem`` the rule."""


class NotFoundError(PersistError):
    """A thing named from outside does not exist."""


class ConflictError(PersistError):
    """A write would break uniqueness or would contradict what is stored."""


class BusyError(PersistError):
    """A lock was not had in time; nothing was written, the call may be repeated."""


class UnsupportedError(PersistError):
    """This platform or this part's version cannot do it."""


class DamagedError(PersistError):
    """Stored data is not what was stored: a file or a checksum is broken."""


class SchemaOutdatedError(PersistError):
    """A database's schema is older than this release needs."""


class SchemaTooNewError(PersistError):
    """A database's schema is newer than this release can work with."""


class MigrationError(PersistError):
    """A migration was refused or failed; the database is as it was before it."""


class StorageError(PersistError):
    """The file system or the database engine failed: no space, no permission, an I/O error."""


class MisuseError(PersistError):
    """The library was called in a way that it does not allow: after its end, or nested."""


class AccountLockedError(PersistError):
    """Too many failed logins: this account takes no login for now, not even with the right password."""


class AccountInactiveError(PersistError):
    """The password or key is right, but the account was switched off."""


class ExpiredError(PersistError):
    """An invitation or a link was good, and its time is over."""


class RevokedError(PersistError):
    """An invitation or a link was taken back, for good."""


class UnreachableError(PersistError):
    """No usable answer came, after several attempts: nothing was lost, and the call may be repeated later."""


class AccessDeniedError(PersistError):
    """A key is wrong or may not do this; ``hint`` names what is missing."""


class RejectedError(PersistError):
    """The records themselves are refused: a type, a constraint, a size. Sending them again cannot help."""


class OutcomeUnknownError(PersistError):
    """The connection broke while a commit was under way: the write may have taken place, as a whole or not at all."""
