"""The versions of what made a run, as its bundle and its report state them."""

import platform
from importlib.metadata import version

from llmemb import __version__

_LIBRARIES = ("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "numpy", "polars")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a run's numbers may depend on."""
    ours = {"python": platform.python_version(), "llmemb": __version__}
    return ours | {name: version(name) for name in _LIBRARIES}
