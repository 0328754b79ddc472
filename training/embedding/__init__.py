"""Raw embeddings on disk: every item once through the encoder, in shards, here or on Ray."""
