"""What outlives the process: the log of changed items and the sessions, in SQLite or Redis."""
