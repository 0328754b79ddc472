"""The storage of one process, in SQLite."""
