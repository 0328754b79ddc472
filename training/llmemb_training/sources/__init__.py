"""Readers of raw data: each source format -> interactions and items."""

from llmemb_training.sources.read import SourceFiles, read_interactions, read_items, source_files

__all__ = ["SourceFiles", "read_interactions", "read_items", "source_files"]
