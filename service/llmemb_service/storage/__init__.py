"""Persistent state: the log of changed items and the sessions, in SQLite or Redis."""
