"""A run on disk and in the terminal: run folder, progress display, and library versions."""
