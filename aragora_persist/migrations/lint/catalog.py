"""Every rule of the lint: its name, why it is one, and the way out. Leaves out: finding what breaks one (``rules``)."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing in one migration that is not as it should be."""

    migration: str
    rule: str
    subject: str
    why: str
    way_out: str


class Rule(NamedTuple):
    """A rule; ``breaks_readers`` says that code of the previous release, which is still running, would fail."""

    name: str
    why: str
    way_out: str
    breaks_readers: bool = False

    def found(self, migration: str, subject: str, detail: str = "") -> Finding:
        """Return a finding; ``detail`` says what is the case here."""
        return Finding(migration, self.name, subject, f"{detail}; {self.why}" if detail else self.why, self.way_out)


_LATER = (
    "in two releases: this one stops using it, the next one drops it with a MIN_READER of this one "
    "and a waiver that says which release used it last"
)
_RENAME = (
    "in two releases: this one adds the new one, writes both and copies what is there; the next one, "
    "with a MIN_READER of this one, reads the new one alone and drops the old one"
)

DROP_TABLE = Rule(
    "drop-table",
    "services of the previous release still run on this file, and their statements fail; the rows are gone",
    _LATER,
    breaks_readers=True,
)
DROP_COLUMN = Rule(
    "drop-column",
    "services of the previous release still run on this file, and their statements fail; the values are gone",
    _LATER,
    breaks_readers=True,
)
RENAME_TABLE = Rule(
    "rename-table",
    "services of the previous release still run on this file, and look for the old name",
    _RENAME,
    breaks_readers=True,
)
RENAME_COLUMN = Rule(
    "rename-column",
    "services of the previous release still run on this file, and name the old column",
    _RENAME,
    breaks_readers=True,
)
DROP_INDEX = Rule(
    "drop-index",
    "no other index begins with its columns: what the previous release reads by it reads the whole table from now on",
    "keep it for this release and drop it in the next one; a waiver says that no release reads by it",
)
DROP_UNIQUE = Rule(
    "drop-unique",
    "what was unique no longer is, and the previous release's ON CONFLICT on these columns fails",
    "keep it until no running release relies on it, then drop it with a MIN_READER of this release and a waiver",
    breaks_readers=True,
)
DROP_TRIGGER = Rule(
    "drop-trigger",
    "what the previous release leaves to this trigger or reads from this view is not there any more "
    "(dropping a table drops its triggers)",
    "make it again after the rebuild (rebuild_table does), or drop it when no running release relies on it, "
    "with a waiver",
)
NOT_NULL = Rule(
    "not-null",
    "an INSERT of the previous release does not name this column, and fails",
    "in two releases: add it with a DEFAULT, or without NOT NULL; require it when every running release writes it",
    breaks_readers=True,
)
TIGHTER = Rule(
    "tighter",
    "rows that the previous release writes may be refused from now on, and so may rows that are there already",
    "in two releases: the code of this one writes rows of the new kind and mends the old ones; "
    "the next one, with a MIN_READER of this one, has the schema require it",
    breaks_readers=True,
)
LOST_DATA = Rule(
    "lost-data",
    "rows or values that were there before are not there afterwards",
    "copy them (rebuild_table refuses a rebuild that leaves something out); "
    "what is to go goes one release after nothing writes it, with a waiver",
)
UNINDEXED_KEY = Rule(
    "unindexed-key",
    "each delete or change of a referred row reads this whole table, under the write lock",
    "CREATE INDEX on the columns of the foreign key, in their order or with more behind them",
)
REPEAT = Rule(
    "repeat",
    "body and ledger row are one transaction, so no run applies it twice; but a database that was rolled back, or "
    "brought here by hand in part, has these rows already",
    "write it so that a second run finds nothing to do: INSERT … ON CONFLICT DO NOTHING, UPDATE … WHERE it is not done",
)
FAILS = Rule(
    "fails",
    "it cannot be applied to rows that the schema before it allows",
    "mend such rows in a step before, and say in a comment what becomes of them",
)
NO_SAMPLE = Rule(
    "no-sample",
    "no row was found that its constraints allow, so nobody sees what later migrations do to its rows",
    "write the CHECK with plain values, or test the migrations of this table with rows of your own and waive this",
)
MIN_READER = Rule(
    "min-reader",
    "MIN_READER says which releases may go on with the new schema; without it the file is for this release alone, "
    "and every service that still runs the previous one is locked out when it opens the file again",
    'say it on purpose: MIN_READER = "X.Y.Z", the oldest release whose statements all work on the new schema',
)
DOWNGRADE = Rule(
    "downgrade",
    "a rollback to the version before is refused, and the way back is a backup",
    "undo each step in reverse order: the schema must be what it was, and rows from before must still be there; "
    "where that cannot be, a waiver says why",
)
DEFAULT = Rule(
    "default",
    "a default that is computed differs in form between databases, and times have one form, so that text order is "
    "time order",
    "a literal, or (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')), or no default and the value from the code",
)
TYPE = Rule(
    "type",
    "SQLite guesses from the type's name what it turns values into, and PostgreSQL has no such guess",
    "TEXT, INTEGER, REAL or BLOB; times, JSON and enumerations are TEXT, truth is INTEGER",
)
POSTGRESQL = Rule(
    "postgresql",
    "the same migration makes the schema on PostgreSQL, and refuses to there",
    "write it in the SQL that both databases share, rebuild with rebuild_table, or teach postgresql/translation.py",
)
FILE = Rule(
    "file",
    "people and tools find a migration by its docstring",
    "the form that --create writes: Migration NNN: what it does, an empty line, Created: YYYY-MM-DDTHH:MM:SS",
)
EMPTY = Rule(
    "empty",
    "upgrade does nothing, and once that is applied anywhere the file cannot be edited any more",
    "fill it in, or delete the file",
)
WAIVER = Rule(
    "waiver",
    "a waiver is for one rule, with its reason, and what waives nothing hides the next mistake",
    'WAIVED = {"rule": "why it is right here"}, with the rule\'s name from a finding of this file; take others out',
)

RULES = {
    rule.name: rule
    for rule in (
        *(DROP_TABLE, DROP_COLUMN, DROP_INDEX, DROP_UNIQUE, DROP_TRIGGER, RENAME_TABLE, RENAME_COLUMN),
        *(NOT_NULL, TIGHTER, LOST_DATA, UNINDEXED_KEY, REPEAT, FAILS, NO_SAMPLE, MIN_READER, DOWNGRADE),
        *(DEFAULT, TYPE, POSTGRESQL, FILE, EMPTY, WAIVER),
    )
}
