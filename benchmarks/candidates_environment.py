"""An environment of our own packages and of ONNX Runtime and OpenVINO, made once: they are tried, not used."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.results import WORK

NEEDS = ("onnxruntime==1.32.0", "openvino==2026.4.1", "onnx==1.23.2", "onnxscript==0.7.2")


def candidates_python() -> Path:
    """Return the interpreter of the environment; make the environment where it is not there yet."""
    folder = WORK / "candidates"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *NEEDS], check=True)
        # Ours come after its own, so that it has the same torch.
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        link = folder / "lib" / version / "site-packages" / "ours.pth"
        link.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        done.touch()
    return python
