"""The steps of the offline line, one module a verb."""
