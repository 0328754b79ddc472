"""Virtual environments of peers, each made once: they need other versions than ours."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.results import WORK

RECBOLE = "1.2.1"
RECTOOLS = "0.19.0"
# What RecBole 1.2.1 declares but needs only for hyper-parameter search and FLOP counts (ray, plotly, thop) stays out:
# its ray has no wheel for newer Pythons. NumPy 2 lacks `np.float_`, pandas 3 the in-place fills, which RecBole uses.
_RECBOLE_NEEDS = (
    "numpy<2",
    "pandas<3",
    "scipy",
    "scikit-learn",
    "tensorboard",
    "tqdm",
    "pyyaml",
    "psutil",
    "colorlog==4.7.2",
    "colorama==0.4.4",
    "tabulate",
    "texttable",
)


def recbole_python() -> Path:
    """Return the interpreter of RecBole's environment."""
    return _python(f"recbole-{RECBOLE}", list(_RECBOLE_NEEDS), ["--no-deps", f"recbole=={RECBOLE}"])


def rectools_python() -> Path:
    """Return the interpreter of RecTools' environment."""
    return _python(f"rectools-{RECTOOLS}", [f"rectools[torch]=={RECTOOLS}"])


def _python(name: str, *installs: Sequence[str]) -> Path:
    """Return the interpreter of an environment; make it by these calls of pip where it is not there yet."""
    folder = WORK / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        # The same torch as ours, so that the difference is none of torch's.
        for what in ([f"torch=={version('torch').split('+')[0]}"], *installs):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True)
        done.touch()
    return python
