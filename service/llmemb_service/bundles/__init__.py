"""The bundles that answer: the parts of one bundle, the roles of the loaded bundles, readiness, and `llmemb check`."""
