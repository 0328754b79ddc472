"""`embed.engine = "ray"`: a small cluster of this machine gives the vectors that one process gives."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmemb.encoder.encoder import load_llm
from llmemb_training.embedding.raw_embeddings import RAW_EMBEDDINGS_FILE, read_raw_embeddings, save_raw_embeddings
from tests.support.prepared import write_prepared

pytestmark = pytest.mark.slow

# Ray leaves processes and sockets to the end of the process that started it: one of its own.
EMBED = """
import sys
from pathlib import Path
import torch
from llmemb.errors import ConfigError
from llmemb_training.config import EmbedConfig, EncoderConfig
from llmemb_training.steps import embed

torch.set_num_threads(1)
dataset, encoder, *outputs = map(Path, sys.argv[1:])
for output in outputs:
    config = EmbedConfig(engine="local" if output.name == "local" else "ray", shard_items=8, batch_tokens=256)
    try:
        embed.run(config, EncoderConfig(base="unused"), dataset, encoder, output)
    except ConfigError as error:
        print(error)
"""
CLUSTER = """
import ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
"""
NO_RAY = """
import sys
sys.modules["ray"] = None
"""


@pytest.fixture(scope="module")
def folders(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset of 40 movies and an encoder; read them, never write to them."""
    folder = tmp_path_factory.mktemp("ray")
    load_llm(str(tiny_llm), max_tokens=64).save(folder / "encoder")
    return write_prepared(folder / "prepare"), folder / "encoder"


def run(script: str, folders: tuple[Path, Path], *outputs: Path) -> str:
    """Run the step in five shards, into each of the folders; return what was printed."""
    for output in outputs:
        output.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", script, *folders, *outputs],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ray_gives_the_vectors_of_one_process(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Bit by bit; and a shard that is there is taken as it is."""
    names = ("local", "ray", "resumed")
    (tmp_path / "resumed").mkdir()
    save_raw_embeddings(np.zeros((8, 32), dtype=np.float32), tmp_path / "resumed" / "shard-000000024.safetensors")
    run(CLUSTER + EMBED, folders, *(tmp_path / name for name in names))
    local, ray, resumed = (read_raw_embeddings(tmp_path / name) for name in names)

    assert np.array_equal(ray, local)
    assert not resumed[24:32].any()
    assert np.array_equal(np.delete(resumed, range(24, 32), axis=0), np.delete(local, range(24, 32), axis=0))
    assert [path.name for path in (tmp_path / "ray").iterdir()] == [RAW_EMBEDDINGS_FILE]


def test_without_ray_the_error_says_what_to_install(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Where Ray cannot be imported, only the choice of it fails."""
    printed = run(NO_RAY + EMBED, folders, tmp_path / "local", tmp_path / "ray")

    assert printed == (
        "embed.engine is 'ray', but the module 'ray' is missing: pip install 'llmemb[ray]', or set it to 'local'\n"
    )
    assert (tmp_path / "local" / RAW_EMBEDDINGS_FILE).is_file()
