"""RecBole's own virtual environment, made once: it needs older NumPy and pandas than ours."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.results import WORK

RECBOLE = "1.2.1"
# What RecBole 1.2.1 declares but needs only for hyper-parameter search and FLOP counts (ray, plotly, thop) stays out:
# its ray has no wheel for newer Pythons. NumPy 2 lacks `np.float_`, pandas 3 the in-place fills, which RecBole uses.
NEEDS = (
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
    """Return the interpreter of the environment; make the environment where it is not there yet."""
    folder = WORK / f"recbole-{RECBOLE}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        # The same torch as ours, so that the difference is none of torch's.
        subprocess.run([*pip, f"torch=={version('torch').split('+')[0]}", *NEEDS], check=True)
        subprocess.run([*pip, "--no-deps", f"recbole=={RECBOLE}"], check=True)
        done.touch()
    return python
