"""Full-text search over the catalogue, in an SQLite file."""
