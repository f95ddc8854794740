"""Look-up of a user by email among many: the product beside what people write, and use, instead.

Every contestant answers with the same row of the same file. ``raw tuple`` parses nothing; ``by hand`` makes a record
like the product's; SQLAlchemy and peewee give times, truth values and JSON as such, as the product does, and
are used as a service uses them (a connection or a session a call, from their pool); the others give text.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import make_dataclass
from datetime import datetime
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

import aiosqlite
import apsw
import peewee
import sqlalchemy as sa
import sqlite_utils
from sqlalchemy import orm

from aragora_persist.storage.user_store import UserStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


_NAMES = (
    *("id", "email", "name", "org_id", "role", "created_at", "updated_at", "last_login_at", "is_active"),
    *("email_verified", "avatar_url", "preferences", "locked_until", "failed_login_count", "lockout_reason"),
    *("last_activity_at", "last_debate_at"),
)
_SQL = f"SELECT {', '.join(_NAMES)} FROM users WHERE email = ?"  # noqa: S608 - constants of this module
Record = make_dataclass("Record", _NAMES, frozen=True, slots=True)
"""What is written by hand: the documented columns, each as what it means."""
_NOW = "2026-01-02T03:04:05.678901Z"
_TIMES = {"created_at", "updated_at", "last_login_at", "locked_until", "last_activity_at", "last_debate_at"}
_FLAGS = {"is_active", "email_verified"}


def email(number: int) -> str:
    """Return the email of a user."""
    return f"user{number}@example.com"


def make_users(path: Path, count: int) -> None:
    """Make a database with so many users."""
    UserStore(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO users (id, email, password_hash, password_salt, name, created_at, updated_at, last_login_at,"
            " preferences, last_activity_at) VALUES (?, ?, 'x', '', ?, ?, ?, ?, ?, ?)",
            (
                (f"{n:032x}", email(n), f"User {n}", _NOW, _NOW, _NOW, '{"theme":"dark","size":12}', _NOW)
                for n in range(count)
            ),
        )


def by_hand(connection: sqlite3.Connection) -> Callable[[str], object]:
    """Return the look-up that a careful programmer writes for one thread."""

    def time(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    def look(wanted: str) -> object:
        row = connection.execute(_SQL, (wanted,)).fetchone()
        made, changed, login, active, verified, avatar, preferences, locked, failed, reason, acted, debated = row[5:]
        return Record(
            *row[:5],
            time(made),
            time(changed),
            time(login),
            bool(active),
            bool(verified),
            avatar,
            json.loads(preferences),
            time(locked),
            failed,
            reason,
            time(acted),
            time(debated),
        )

    return look


def connect_per_call(path: Path) -> Callable[[str], object]:
    """Return the look-up with a connection of its own for each call."""

    def look(wanted: str) -> object:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA busy_timeout=30000")
            return connection.execute(_SQL, (wanted,)).fetchone()

    return look


class SqlalchemyTime(sa.TypeDecorator[datetime]):
    """Our text form of a time as a column of SQLAlchemy."""

    impl = sa.Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: object) -> datetime | None:
        """Return the time of a column."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


class PeeweeTime(peewee.TextField):
    """The same for peewee."""

    def python_value(self, value: str | None) -> datetime | None:
        """Return the time of a column."""
        return None if value is None else datetime.fromisoformat(value)


class PeeweeJson(peewee.TextField):
    """JSON text for peewee."""

    def python_value(self, value: str) -> object:
        """Return the dict of a column."""
        return json.loads(value)


def users_table(engine: sa.Engine) -> sa.Table:
    """Return the table with the types that its columns hold."""
    typed = [sa.Column(name, SqlalchemyTime) for name in _TIMES]
    typed += [sa.Column(name, sa.Boolean) for name in _FLAGS]
    return sa.Table("users", sa.MetaData(), *typed, sa.Column("preferences", sa.JSON), autoload_with=engine)


def sqlalchemy_core(engine: sa.Engine) -> Callable[[str], object]:
    """Return a look-up through SQLAlchemy Core, a connection from the pool for each call."""
    table = users_table(engine)
    query = sa.select(*(table.c[name] for name in _NAMES)).where(table.c.email == sa.bindparam("wanted"))

    def look(wanted: str) -> object:
        with engine.connect() as connection:
            return connection.execute(query, {"wanted": wanted}).first()

    return look


def sqlalchemy_orm(engine: sa.Engine) -> Callable[[str], object]:
    """Return a look-up through SQLAlchemy's ORM, a session for each call."""
    table = users_table(engine)
    mapped = type("Row", (), {})
    orm.registry().map_imperatively(mapped, table)
    query = sa.select(mapped).where(table.c.email == sa.bindparam("wanted"))

    def look(wanted: str) -> object:
        with orm.Session(engine) as session:
            return session.scalars(query, {"wanted": wanted}).one()

    return look


def with_peewee(database: peewee.SqliteDatabase) -> Callable[[str], object]:
    """Return a look-up through a peewee model."""
    kinds = {
        **dict.fromkeys(_NAMES, peewee.TextField),
        **dict.fromkeys(_TIMES, PeeweeTime),
        **dict.fromkeys(_FLAGS, peewee.BooleanField),
        "preferences": PeeweeJson,
    }
    fields = {name: kind(null=True) for name, kind in kinds.items() if name != "id"}
    meta = type("Meta", (), {"database": database, "table_name": "users"})
    model = type("Row", (peewee.Model,), {"id": peewee.TextField(primary_key=True), **fields, "Meta": meta})
    return lambda wanted: model.get(model.email == wanted)


def contestants(path: Path, stack: ExitStack) -> dict[str, Callable[[str], object]]:
    """Return every synchronous way to look a user up, ready to be called."""
    raw = stack.enter_context(closing(sqlite3.connect(path)))
    hand = stack.enter_context(closing(sqlite3.connect(path, cached_statements=256)))
    fast = stack.enter_context(closing(apsw.Connection(str(path))))
    utils = sqlite_utils.Database(stack.enter_context(closing(sqlite3.connect(path))))
    lite = peewee.SqliteDatabase(path)
    stack.callback(lite.close)
    alchemy = sa.create_engine(f"sqlite:///{path}")
    stack.callback(alchemy.dispose)
    return {
        "aragora-persist": stack.enter_context(UserStore(path)).get_by_email,
        "sqlite3, raw tuple": lambda wanted: raw.execute(_SQL, (wanted,)).fetchone(),
        "sqlite3, by hand": by_hand(hand),
        "sqlite3, connection a call": connect_per_call(path),
        "apsw, raw tuple": lambda wanted: fast.execute(_SQL, (wanted,)).fetchone(),
        "sqlite-utils": lambda wanted: next(utils["users"].rows_where("email = ?", [wanted])),
        "SQLAlchemy Core": sqlalchemy_core(alchemy),
        "SQLAlchemy ORM": sqlalchemy_orm(alchemy),
        "peewee": with_peewee(lite),
    }


def rate(look: Callable[[str], object], users: int, seconds: float, chance: Random) -> float:
    """Return how many look-ups a second of random users this one does."""
    wanted = [email(chance.randrange(users)) for _ in range(512)]
    done, start = 0, perf_counter()
    while (spent := perf_counter() - start) < seconds:
        for one in wanted:
            look(one)
        done += len(wanted)
    return done / spent


async def rate_aiosqlite(path: Path, users: int, seconds: float, chance: Random) -> float:
    """As ``rate``, awaited."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(aiosqlite.connect(path))
        done, start = 0, perf_counter()
        while (spent := perf_counter() - start) < seconds:
            async with connection.execute(_SQL, (email(chance.randrange(users)),)) as cursor:
                await cursor.fetchone()
            done += 1
        return done / spent


def measure(folder: Path, users: int, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Return look-ups a second of each contestant, one figure a round, the rounds interleaved."""
    path = folder / "aragora_users.db"
    make_users(path, users)
    chance = Random(1)  # noqa: S311 - the same users in every run
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ways = contestants(path, stack)
        for _ in range(rounds):
            for name, look in ways.items():
                rates.setdefault(name, []).append(rate(look, users, seconds, chance))
            one = asyncio.run(rate_aiosqlite(path, users, seconds, chance))
            rates.setdefault("aiosqlite", []).append(one)
    return rates
