"""LLMEmb's shared core: item, prompt, encoder, projection, sequence models, index, bundle.

The trainer writes bundles with it, the service reads them with it; it imports neither.
"""

__version__ = "0.1.0"
