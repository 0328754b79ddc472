"""Raw formats -> interactions and items."""

from training.sources.read import read_source, source_files
from training.sources.source import Source

__all__ = ["Source", "read_source", "source_files"]
