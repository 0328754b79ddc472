"""Access control: API keys, roles and rate limits."""
