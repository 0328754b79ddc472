"""Versions of Python, the libraries and the code, for the bundle and the report."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from llmemb import __version__

_LIBRARIES = ("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "numpy", "polars")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that may affect the results of a run."""
    ours = {"python": platform.python_version(), "llmemb": __version__}
    return ours | {name: version(name) for name in _LIBRARIES}


def git_commit() -> str | None:
    """Return the short commit of this code, with a `+` suffix for uncommitted changes; None outside a work tree."""

    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the one of the PATH
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # an installed copy may be inside another project's work tree
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
