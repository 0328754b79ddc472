"""The FastAPI service: reads a bundle and answers from it. It knows nothing of the trainer."""
