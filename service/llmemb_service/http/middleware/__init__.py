"""The middleware that handles every request before its route."""
