"""The live catalogue: the bundle's items with all later changes applied."""
