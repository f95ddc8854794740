"""Schema migrations of the SQLite databases."""
