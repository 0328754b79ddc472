"""Client connections: their timeouts and size limits, and how answers are written to them."""
