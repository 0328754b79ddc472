"""The versions of what made a run, as its bundle and its report state them."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from llmemb import __version__

_LIBRARIES = ("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "numpy", "polars")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a run's numbers may depend on."""
    ours = {"python": platform.python_version(), "llmemb": __version__}
    return ours | {name: version(name) for name in _LIBRARIES}


def git_commit() -> str | None:
    """Return the short commit of this code, `+` behind it with uncommitted changes; None outside a git work tree."""

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
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy may lie in a work tree of others
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
