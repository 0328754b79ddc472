"""The OpenAPI description: FastAPI's own, plus problem responses, security, rate limit headers and examples."""
