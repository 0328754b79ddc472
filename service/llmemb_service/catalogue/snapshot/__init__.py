"""An immutable state of the catalogue: the base, the items added since, and which rows are visible."""
