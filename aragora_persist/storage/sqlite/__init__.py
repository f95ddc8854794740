"""The SQLite backend of the port: one writer and many readers for each file of a process."""
