"""The OpenAPI description: FastAPI's own, with every error as the problem it is, and examples."""
