"""The offline trainer: writes bundles. It knows nothing of the service."""
