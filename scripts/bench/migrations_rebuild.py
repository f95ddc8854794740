"""A large table rebuilt by a migration, beside the documented twelve steps written by hand: time, memory, log, disk.

Each works in a process of its own on a copy of the same database, whose one table has three indexes, and afterwards
both must hold the same rows under the same schema. ``by hand`` is what SQLite's documentation lists, and no more.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from aragora_persist.migrations.runner import migrate
from aragora_persist.migrations.schema import read_schema

if TYPE_CHECKING:
    from pathlib import Path

_ROW_BYTES = 310  # with its part of the indexes
_TABLE = """
CREATE TABLE {name} (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, user_id TEXT, org_id TEXT, action TEXT NOT NULL,
    resource_type TEXT, resource_id TEXT, details TEXT {constraint} DEFAULT '{{}}', ip_address TEXT, user_agent TEXT
)
"""
_COLUMNS = "id, timestamp, user_id, org_id, action, resource_type, resource_id, details, ip_address, user_agent"
_FILL = """
WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO audit_log
SELECT i, strftime('%Y-%m-%dT%H:%M:%f000Z', 1700000000 + i / 50.0, 'unixepoch'), 'user-' || (i * 7919 % 50000),
    'org-' || (i * 31 % 500), 'document.update', 'document', lower(hex(randomblob(16))),
    '{"n":' || i || ',"text":"what an entry says, at some length"}', '10.0.0.' || (i % 250),
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36'
FROM n
"""
_INDEXES = tuple(f"CREATE INDEX idx_audit_{name} ON audit_log({name})" for name in ("user_id", "org_id", "timestamp"))
_MIGRATION = f"""
from aragora_persist.storage.schema import rebuild_table

NEW = '''{_TABLE.format(name="audit_log", constraint="NOT NULL")}'''


def upgrade(conn):
    rebuild_table(conn, "audit_log", NEW)
"""

_PEAK = """
from pathlib import Path
from time import perf_counter, process_time
import json, os, sys
path = sys.argv[1]
start = perf_counter()
{work}
seconds, cpu_s = perf_counter() - start, process_time()
peak_kb = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
found = {{"s": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_mb": peak_kb // 1024, "wal_mb": wal >> 20}}
print(json.dumps({{**found, "told": told}}))
"""
_OURS = _PEAK.format(
    work="""
import sqlite3
from aragora_persist.migrations.runner import migrate
keep = sqlite3.connect(path)  # so that the log is there to be measured
keep.execute("SELECT 1 FROM sqlite_master").fetchone()
heard = []
migrate(path, "users", folder=Path(sys.argv[2]), backup=False, progress=heard.append)
wal, told = os.path.getsize(path + "-wal"), len(heard)
keep.close()
"""
)
_BY_HAND = _PEAK.format(
    work=f"""
import sqlite3
conn = sqlite3.connect(path, isolation_level=None)
conn.execute("PRAGMA foreign_keys=OFF")
conn.execute("BEGIN IMMEDIATE")
kept = [row[0] for row in conn.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'audit_log' AND type = 'index'")]
conn.execute('''{_TABLE.format(name="new_audit_log", constraint="NOT NULL")}''')
conn.execute("INSERT INTO new_audit_log ({_COLUMNS}) SELECT {_COLUMNS} FROM audit_log")
conn.execute("DROP TABLE audit_log")
conn.execute("ALTER TABLE new_audit_log RENAME TO audit_log")
for sql in kept:
    conn.execute(sql)
conn.execute("PRAGMA foreign_key_check").fetchall()
conn.execute("COMMIT")
wal, told = os.path.getsize(path + "-wal"), 0
conn.close()
"""  # noqa: S608 - of constants of this module
)


def measure(folder: Path, size_mb: float, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return what each way took, one a round in turn.

    Raises:
        AssertionError: the two have not made the same of it.

    """
    migrations = folder / "migrations"
    migrations.mkdir()
    (migrations / "001_log.py").write_text(_first_migration())
    (migrations / "002_details.py").write_text(_MIGRATION)
    original = folder / "original.db"
    rows = _make(original, migrations / "001_log.py", size_mb)
    found: dict[str, list[dict[str, float]]] = {"aragora-persist": [], "by hand": []}
    for _ in range(rounds):
        digests = set()
        for name, program in (("aragora-persist", _OURS), ("by hand", _BY_HAND)):
            path = folder / "copy.db"
            shutil.copyfile(original, path)
            command = [sys.executable, "-c", program, str(path), str(migrations)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name].append({**json.loads(done), "rows": rows, "file_mb": path.stat().st_size >> 20})
            digests.add(_digest(path))
            path.unlink()
        if len(digests) != 1:
            raise AssertionError(f"the results differ: {digests}")
    return found


def _first_migration() -> str:
    lines = [_TABLE.format(name="audit_log", constraint=""), *_INDEXES]
    return "def upgrade(conn):\n" + "\n".join(f"    conn.execute({line!r})" for line in lines) + "\n"


def _make(path: Path, first: Path, size_mb: float) -> int:
    """Make the database with the first migration alone, and fill its table; return the number of rows."""
    folder = path.with_name("first")
    folder.mkdir()
    shutil.copy(first, folder)
    migrate(path, "users", folder=folder)
    rows = max(1, int(size_mb * 2**20 / _ROW_BYTES))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(_FILL, (rows,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return rows


def _digest(path: Path) -> str:
    """Return what both ways must have made: the table's definition, its indexes, its rows."""
    with closing(sqlite3.connect(path)) as connection:
        schema = [entry for entry in read_schema(connection) if "audit" in entry[0]]
        rows = connection.execute(
            "SELECT count(*), sum(id), sum(length(details)), max(timestamp), min(resource_id), max(resource_id), "
            "(SELECT seq FROM sqlite_sequence) FROM audit_log"
        ).fetchone()
    return json.dumps([schema, rows])
