"""The FastAPI service: reads a bundle and answers requests with it. It does not depend on the trainer."""
