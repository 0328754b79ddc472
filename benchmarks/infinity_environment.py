"""Infinity's own virtual environment, made once, and the encoder folder in the words of its older transformers."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.results import WORK

INFINITY = "0.0.78"


def infinity_python() -> Path:
    """Return the interpreter of the environment; make the environment where it is not there yet."""
    folder = WORK / f"infinity-{INFINITY}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        # The same torch as ours, so that the difference is none of torch's.
        torch = f"torch=={version('torch').split('+')[0]}"
        needs = [torch, f"infinity-emb[server,torch,einops]=={INFINITY}"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needs], check=True)
        done.touch()
    return python


def folder_for_infinity(encoder_folder: Path, target: Path) -> Path:
    """Copy an encoder folder for transformers 4, which Infinity needs: the same weights and tokens, two keys renamed.

    Args:
        encoder_folder: of a bundle.
        target: replaced where it exists.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(encoder_folder, target)
    config = json.loads((target / "config.json").read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    (target / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((target / "tokenizer_config.json").read_text())
    tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    (target / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return target
