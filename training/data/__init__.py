"""The prepared dataset: what `prepare` writes and every later step reads. Imports the configuration and the sources."""
