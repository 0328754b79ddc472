"""Backup and restore of what outlives the process; `docs/backup.md` has the format."""
