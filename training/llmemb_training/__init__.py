"""The offline trainer, which writes bundles. It does not depend on the service."""
