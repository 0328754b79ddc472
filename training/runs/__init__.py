"""A run on disk and in the terminal: its folders, its progress, and the versions that made it."""
