"""Embedding of texts: the cache of raw embeddings, and the LLM behind a bounded queue."""
