"""The storage of several replicas, in Redis."""
