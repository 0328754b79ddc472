"""SCFT on one GPU in bounded time: fine-tune, embed, and copy the small results.

    python -m benchmarks.scft_gpu beauty [--out runs/scft-gpu] [--minutes 8] [--set KEY=VALUE]

Runs the steps up to `embed` with all layers of the LLM, next-item pairs and 512 histories a step; `--set` comes after
these. Training ends after so many minutes, the learning rate having fallen to zero; loading and embedding take one or
two more. Without a GPU it does the same, slowly. Writes into OUT:

    raw_embeddings.safetensors   `(N, h)` as float16, row r of item row r, for `benchmarks.scft_quality`
    adapter_model.safetensors    the LoRA weights in PEFT's form, with `adapter_config.json`
    summary.json                 pairs, steps, seconds, losses and the configuration

The run itself, in float32, is in OUT/run; the same command resumes it.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from llmemb.files import write_text_atomically
from llmemb_training import pipeline
from llmemb_training.config import Config, config_file, dump_config, load_config
from llmemb_training.embedding.raw_embeddings import RAW_EMBEDDINGS_FILE, read_raw_embeddings
from llmemb_training.runs.run_folder import RunFolder
from llmemb_training.steps.scft import LORA

MOST_PAIRS = 4_000_000
"""More than a GPU can process in ten minutes, so that the time limit ends the training."""
OVERRIDES = (
    "scft.enabled=true",
    "scft.positives=next",
    "scft.batch_histories=512",
    f"scft.max_pairs={MOST_PAIRS}",
    # 139 GiB hold the graph of a step of a few hundred thousand tokens in 30 layers.
    "scft.part_tokens=16384",
    "scft.held_states=2000000",
    "embed.batch_tokens=16384",
)


def configure(path: Path, minutes: float, changes: Sequence[str]) -> Config:
    """Return a configuration with what the GPU is for: all layers, large batches, bounded time."""
    config = load_config(path, [*OVERRIDES, f"scft.max_minutes={minutes}", *changes])
    if any(change.startswith("encoder.depth=") for change in changes):
        return config
    return config.model_copy(update={"encoder": config.encoder.model_copy(update={"depth": None})})


def keep(config: Config, run: RunFolder, out: Path) -> None:
    """Copy the small results of a run to a folder."""
    raw = np.asarray(read_raw_embeddings(run.step("embed")))
    save_file({"raw": raw.astype(np.float16)}, out / RAW_EMBEDDINGS_FILE)
    for path in (run.step("scft") / LORA).iterdir():
        shutil.copyfile(path, out / path.name)
    records = {name: run.record(name) for name in ("scft", "embed")}
    summary = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "steps": {name: record.summary for name, record in records.items() if record is not None},
        "config": dump_config(config),
    }
    write_text_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")


def main() -> None:
    """Train, embed and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=config_file, help="a TOML file or a preset, such as beauty")
    parser.add_argument("--out", type=Path, default=Path("runs/scft-gpu"))
    parser.add_argument("--minutes", type=float, default=8.0, help="minutes of training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    config = configure(given.config, given.minutes, given.set)
    run = given.out / "run"
    pipeline.train(config, run, last="embed")
    keep(config, RunFolder(run), given.out)
    for path in sorted(given.out.iterdir()):
        if path.is_file():
            print(f"{path} {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
