"""The catalogue at one moment, never changed: a base, the items that came since, and which rows count."""
