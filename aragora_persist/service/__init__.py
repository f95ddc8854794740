"""The process in the SQLite container."""
