"""Virtual environments of the peers, each created once: they need other library versions than ours."""

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.results import WORK

INFINITY = "0.0.78"
RECBOLE = "1.2.1"
RECTOOLS = "0.19.0"
CANDIDATES = ("onnxruntime==1.32.0", "openvino==2026.4.1", "onnx==1.23.2", "onnxscript==0.7.2")
"""Libraries that could run the encoder; only for benchmarks."""
# The same torch version as ours, so that differences do not come from torch.
_OUR_TORCH = f"torch=={version('torch').split('+')[0]}"
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
    return _python(f"recbole-{RECBOLE}", [_OUR_TORCH, *_RECBOLE_NEEDS], ["--no-deps", f"recbole=={RECBOLE}"])


def rectools_python() -> Path:
    """Return the interpreter of RecTools' environment."""
    return _python(f"rectools-{RECTOOLS}", [_OUR_TORCH], [f"rectools[torch]=={RECTOOLS}"])


def infinity_python() -> Path:
    """Return the interpreter of Infinity's environment."""
    return _python(f"infinity-{INFINITY}", [_OUR_TORCH, f"infinity-emb[server,torch,einops]=={INFINITY}"])


def candidates_python() -> Path:
    """Return the interpreter of an environment with `CANDIDATES`, which falls back to our packages."""
    python = _python("candidates", list(CANDIDATES))
    library = f"python{sys.version_info.major}.{sys.version_info.minor}"
    link = python.parents[1] / "lib" / library / "site-packages" / "ours.pth"
    link.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def _python(name: str, *installs: Sequence[str]) -> Path:
    """Return the interpreter of an environment; create it with these pip calls if it does not exist."""
    folder = WORK / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for what in installs:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *what], check=True)
        done.touch()
    return python
