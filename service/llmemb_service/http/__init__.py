"""HTTP: connections, middleware, routes, request parsing and the OpenAPI description."""
