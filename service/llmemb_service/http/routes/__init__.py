"""The service's routes, grouped by purpose."""
