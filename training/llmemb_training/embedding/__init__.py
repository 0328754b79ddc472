"""Raw item embeddings: computed in shards, locally or on Ray, and stored on disk."""
