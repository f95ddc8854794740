"""Backups of the Supabase half: logical dumps of the cloud's tables and of the migration history.

```
database ─ dumping ─▶ dump, content        taking: the dump is a backup when a server of its own (scratch, restoring)
dump ─ restoring ─▶ content                then holds the same content
dump ─ loading, project ─▶ database        restore: committed when the project holds the backup's content
```
What is backed up are the schemas in ``content.SCHEMAS``, with structure, rows, rights and policies. Leaves out: what a
project keeps elsewhere (accounts, files), roles and passwords, and in which publications a table is.
"""

from aragora_persist.errors import UnsupportedError

try:
    from aragora_persist.backup.supabase.loading import restore, save
    from aragora_persist.backup.supabase.taking import drill, read_dump, take
except ModuleNotFoundError as error:
    if error.name != "psycopg":
        raise
    hint = "pip install 'aragora-persist[supabase]'"
    raise UnsupportedError("backups of Supabase", "psycopg", "is not installed", hint=hint) from error

__all__ = ["drill", "read_dump", "restore", "save", "take"]
