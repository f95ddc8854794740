"""Backups of the Supabase half: logical dumps of the cloud's tables and of the migration history.

```
content ◀─ dumping ─▶ scratch, restoring ─▶ content     take: both contents are equal, so the dump is a backup
```
What is backed up are the schemas in ``content.SCHEMAS``, with structure, rows, rights and policies. Leaves out: what a
project keeps elsewhere (accounts, files), roles and passwords, and in which publications a table is.
"""

from aragora_persist.backup.supabase.taking import drill, read_dump, take

__all__ = ["drill", "read_dump", "take"]
