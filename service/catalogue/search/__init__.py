"""Full-text search over the catalogue, in a file of SQLite beside its snapshots."""
