"""Recommendation adaptation training: raw embeddings -> adapter and sequence model (paper, section 3.3)."""
