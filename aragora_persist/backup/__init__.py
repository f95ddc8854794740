"""Backups: snapshot, verify, catalog, restore."""
