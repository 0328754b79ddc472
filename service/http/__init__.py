"""HTTP: bodies, errors, routes and what stands around them."""
