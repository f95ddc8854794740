"""
Migration 005: Audit tree

Created: 2026-11-23T10:00:00
"""

import sqlite3


def upgrade(conn: sqlite3.Connection) -> None:
    """Apply this migration."""


def downgrade(conn: sqlite3.Connection) -> None:
    """Reverse this migration."""
