"""The live catalogue: the bundle's items and what was changed since."""
