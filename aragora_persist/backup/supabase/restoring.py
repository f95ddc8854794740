"""Trying a dump out: it is restored into a scratch server, and what is then in its tables is read.

Things of a project outside of the dump that it refers to are not here: some are stood in for (``surroundings.sql``);
what fails for want of others is told. The tables and their rows have to be there. Leaves out: restoring into a project
(``loading``).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aragora_persist.backup.supabase.content import read_content
from aragora_persist.backup.supabase.programs import bare_environment, failure, options_of, reported
from aragora_persist.backup.supabase.scratch import OWNER, scratch_server
from aragora_persist.cloud.schema.connecting import connected
from aragora_persist.errors import DamagedError, UnsupportedError
from aragora_persist.storage.postgresql.faults import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aragora_persist.backup.supabase.programs import Programs
    from aragora_persist.backup.verify import Content
    from aragora_persist.settings import Secret

_OPERATION = "try out dump"
_SURROUNDINGS = Path(__file__).with_name("surroundings.sql")
_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
_ROLES = re.compile(
    rf"^(?:ALTER [^\n]* OWNER TO|GRANT [^\n]* TO|REVOKE [^\n]* FROM|CREATE POLICY [^\n]*? TO) ({_NAME}(?:, {_NAME})*)",
    re.MULTILINE,
)
_EXTENSION_PLACE = re.compile(rf"^CREATE EXTENSION [^\n]* WITH SCHEMA ({_NAME});", re.MULTILINE)
_MAKE_ROLE = "do $$ begin create role {0}; exception when duplicate_object then null; end $$"
_MISSING = re.compile(r"does not exist$|^extension .* is not available$|violates foreign key constraint")


class TriedOut(NamedTuple):
    """What a restored dump holds, and what could not be restored because it refers to things that are not in it."""

    content: Content
    untried: tuple[str, ...]


def try_out(dump: Path, programs: Programs) -> TriedOut:
    """Restore a dump into a server that exists for nothing else, and read what is in it.

    Raises:
        DamagedError: it is no dump, or PostgreSQL does not take it back.
        StorageError: scratch space is too small for it.
        UnsupportedError: no server can be started by this user.

    """
    schema = _schema_of(dump, programs)
    with scratch_server(programs) as address, connected(address) as (connection, place):
        try:
            for statement in _preparation(schema):
                connection.execute(statement.encode())
            untried = _restore(dump, programs, address)
            with connection.transaction():
                return TriedOut(read_content(connection), untried)
        except DRIVER_ERRORS as error:
            raise translate(error, _OPERATION, place) from None


def check_equal(
    found: Content, expected: Content, *, operation: str, target: object, untried: tuple[str, ...] = ()
) -> None:
    """Compare what is there with what should be; ``untried`` is what could not be restored, and why.

    Raises:
        DamagedError: they differ; the problem names tables.
        UnsupportedError: tables are made with things that are not in the dump; the problem names both.

    """
    if found == expected:
        return
    names = sorted(found.tables.keys() | expected.tables.keys())
    wrong = [name for name in names if found.tables.get(name) != expected.tables.get(name)]
    if untried and all(name in expected.tables and name not in found.tables for name in wrong):
        problem = f"{', '.join(wrong)}: cannot be tried out, and so not backed up: {untried[0]}"
        hint = (
            "install the extension where backups are taken; a type or function of yours belongs into the schema public"
        )
        raise UnsupportedError(operation, target, problem, hint=hint)
    problem = f"does not hold the rows that were dumped: {', '.join(wrong) or 'another migration is its last'}"
    raise DamagedError(operation, target, problem, hint="take another backup")


def _schema_of(dump: Path, programs: Programs) -> str:
    """Return the statements of a dump that make everything but rows."""
    arguments = [programs.path("pg_restore"), "--schema-only", "--file=-", str(dump)]
    done = subprocess.run(arguments, capture_output=True, env=bare_environment(), check=False)
    if done.returncode:
        raise DamagedError(_OPERATION, dump, reported(done.stderr) or "is no dump", hint="take another backup")
    return done.stdout.decode()


def _preparation(schema: str) -> Iterable[str]:
    yield _SURROUNDINGS.read_text(encoding="utf-8")
    yield "drop schema public"  # the dump makes it
    named = {role for match in _ROLES.finditer(schema) for role in re.findall(_NAME, match[1])}
    yield from (_MAKE_ROLE.format(role) for role in sorted(named - {OWNER}) if not role.startswith("pg_"))
    places = set(_EXTENSION_PLACE.findall(schema)) - {"public"}
    yield from (f"create schema if not exists {place}" for place in sorted(places))


def _restore(dump: Path, programs: Programs, address: Secret) -> tuple[str, ...]:
    """Restore a dump; return what could not be, for want of things outside of it."""
    # With several jobs PostgreSQL fills new tables without a log: scratch space holds the rows once.
    arguments = [programs.path("pg_restore"), "--jobs=2", "--dbname=", "--no-password", str(dump)]
    environment = {**bare_environment(), **options_of(address)}
    done = subprocess.run(arguments, capture_output=True, env=environment, check=False)
    errors = tuple(dict.fromkeys(re.findall(r"ERROR: +(.*)", done.stderr.decode(errors="replace"))))
    went_on = done.returncode == 1 and errors and all(_MISSING.search(error) for error in errors)
    if done.returncode and not went_on:
        raise failure("pg_restore", done.returncode, done.stderr, operation=_OPERATION, target=dump)
    return errors
