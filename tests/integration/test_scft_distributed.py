"""`torchrun ... llmemb scft`: two processes on the CPU share each batch and give the encoder that one gives."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb_training import pipeline
from llmemb_training.config import load_config
from llmemb_training.runs.run_folder import RunFolder
from tests.support.tiny import tiny_prompts

CONFIG = """\
seed = 7

[prepare]
path = "{source}"
domain = "movie"
min_interactions = 2

[encoder]
base = "{base}"
max_tokens = 64

[scft]
batch_items = 8
batch_histories = 8
epochs = 1
max_pairs = 100
part_tokens = 200
learning_rate = 1e-2
lora_dropout = 0.1
checkpoint_steps = 2

[rat]
components = 16
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration over 24 items, and a run folder where they are prepared; read both, never write to them."""
    folder = tmp_path_factory.mktemp("distributed")
    items = [f'{{"item_id":"i{row}","title":"Film {row}","year":{1950 + row}}}\n' for row in range(24)]
    lines = [f"u{user},i{(5 * user + time) % 24},{time}\n" for user in range(48) for time in range(6)]
    (folder / "items.jsonl").write_text("".join(items))
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "".join(lines))
    config = folder / "tiny.toml"
    config.write_text(CONFIG.format(source=folder, base=tiny_llm))
    pipeline.run_verb("prepare", load_config(config), folder / "run")
    return config, folder / "run"


@pytest.mark.parametrize("options", [[], ["scft.held_states=0", "scft.positives=both"], ["scft.part_tokens=100000"]])
def test_two_processes_give_the_encoder_of_one(prepared: tuple[Path, Path], tmp_path: Path, options: list[str]) -> None:
    """Dropout and all, even where one has nothing to do; only the first process writes and prints."""
    config, before = prepared
    one, two = (RunFolder(shutil.copytree(before, tmp_path / name)) for name in ("one", "two"))
    pipeline.run_verb("scft", load_config(config, options), one.path)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--"]
    done = subprocess.run(
        [sys.executable, *command, "llmemb", "scft", config, "--run", two.path, *(f"--set={pair}" for pair in options)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    raw = [Encoder.load(run.step("scft") / "encoder").encode(tiny_prompts()) for run in (one, two)]
    base = load_llm(load_config(config).encoder.base, max_tokens=64).encode(tiny_prompts())

    np.testing.assert_allclose(raw[1], raw[0], rtol=1e-3, atol=1e-3)
    assert np.abs(raw[0] - base).max() > 0.1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["scft"]
    assert {path.name for path in two.step("scft").iterdir()} == {"encoder", "lora", "sample.safetensors"}
    assert len(list((two.logs / "scft").iterdir())) == 1
    records = [run.record("scft") for run in (one, two)]
    assert all(record is not None and record.status == "done" for record in records)
