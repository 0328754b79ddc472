"""A first configuration for a source: what its columns hold, sizes by its size, and estimates of the time."""

from llmemb_training.starting_config.write import starting_config

__all__ = ["starting_config"]
