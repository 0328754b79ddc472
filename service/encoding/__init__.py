"""Texts to vectors: the LLM behind a bounded queue, and the cache before it."""
