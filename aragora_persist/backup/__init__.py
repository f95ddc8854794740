"""Backups, from the copy of a live database to the proof that it can be restored.

- ``take`` is the whole of one: ``snapshot`` copies, ``verify`` reads it back, ``archive`` packs, ``keeping`` records it
  in the ``catalog``. ``inventory`` says what there is, ``retention`` what may go, ``rebuild`` mends a lost catalog.
- ``restore`` brings back one database or all of one run; ``recover`` needs no backup.
- ``drill`` proves that the newest ones can be restored; ``health`` and ``metrics`` tell how old that proof is;
  ``sidecar`` does all of this by a schedule.
- ``offsite`` has them elsewhere, ``litestream`` every transaction, ``supabase`` the cloud half.

Names are imported from these modules, so that opening a database does not load them all.
"""
