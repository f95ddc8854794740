"""What the engine's tests write and count: tokens, the smallest of the databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aragora_persist.settings import Settings

if TYPE_CHECKING:
    from aragora_persist.storage.sqlite.engine import Engine

INSERT = "INSERT INTO token_blacklist (jti, expires_at, revoked_at) VALUES (?, 'x', 'y')"
COUNT = "SELECT count(*) FROM token_blacklist"


def settings(**environ: str) -> Settings:
    """Return settings as this environment gives them."""
    return Settings.from_env(environ)


def count(engine: Engine) -> object:
    """Return how many tokens there are."""
    with engine.read("count") as view:
        row = view.one(COUNT)
    assert row is not None
    return row[0]


def add(engine: Engine, *jtis: str) -> None:
    """Add these tokens in one transaction."""
    with engine.transaction("add") as tx:
        for jti in jtis:
            tx.execute(INSERT, (jti,))
