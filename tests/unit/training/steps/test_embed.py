"""`llmemb_training.steps.embed`: every item's vector in its row, whatever was there before, in bounded memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb_training.config import EmbedConfig, EncoderConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.embedding.raw_embeddings import RAW_EMBEDDINGS_FILE, read_raw_embeddings, save_raw_embeddings
from llmemb_training.steps import embed
from tests.support.prepared import write_prepared

MEASURED = """\
import resource, sys
from pathlib import Path
from llmemb_training.config import EmbedConfig, EncoderConfig
from llmemb_training.steps import embed

def run(name):
    embed.run(
        EmbedConfig(shard_items=500, batch_tokens=4096), EncoderConfig(base="unused", max_tokens=16),
        Path(sys.argv[1]) / name, Path(sys.argv[2]), Path(sys.argv[3]) / name,
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(run("small"), run("large"))
"""


@pytest.fixture(scope="module")
def encoder_folder(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder folder; read it, never write to it."""
    folder = tmp_path_factory.mktemp("embed") / "encoder"
    load_llm(str(tiny_llm), max_tokens=64).save(folder)
    return folder


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 movies; read it, never write to it."""
    return write_prepared(tmp_path_factory.mktemp("embed") / "prepare")


def run(dataset_folder: Path, encoder_folder: Path, output: Path, **values: object) -> str:
    """Run the step in shards of 16 items."""
    output.mkdir(exist_ok=True)
    config = EmbedConfig.model_validate({"shard_items": 16, "batch_tokens": 256} | values)
    return embed.run(config, EncoderConfig(base="unused"), dataset_folder, encoder_folder, output)


def test_rows_are_the_items_in_order(dataset_folder: Path, encoder_folder: Path, tmp_path: Path) -> None:
    """Each row is its item's prompt through the encoder; the shards are gone."""
    summary = run(dataset_folder, encoder_folder, tmp_path)
    dataset = read_dataset(dataset_folder)
    prompts = [dataset.prompt(100).render(attributes) for attributes in dataset.attributes()]

    assert summary == "40 items, width 32"
    np.testing.assert_allclose(
        read_raw_embeddings(tmp_path), Encoder.load(encoder_folder).encode(prompts), rtol=1e-4, atol=1e-5
    )
    assert [path.name for path in tmp_path.iterdir()] == [RAW_EMBEDDINGS_FILE]


def test_written_shards_are_not_computed_again(dataset_folder: Path, encoder_folder: Path, tmp_path: Path) -> None:
    """What an interrupted run left counts, and only the rest is embedded."""
    run(dataset_folder, encoder_folder, tmp_path / "whole")
    (tmp_path / "resumed").mkdir()
    save_raw_embeddings(np.zeros((16, 32), dtype=np.float32), tmp_path / "resumed" / "shard-000000016.safetensors")
    run(dataset_folder, encoder_folder, tmp_path / "resumed")
    whole, resumed = (read_raw_embeddings(tmp_path / name) for name in ("whole", "resumed"))

    assert not resumed[16:32].any()
    assert np.array_equal(resumed[:16], whole[:16])
    assert np.array_equal(resumed[32:], whole[32:])


def test_interruption_after_the_last_shard_costs_nothing(
    dataset_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    """Joined, but with shards left to remove: no encoder is needed any more."""
    run(dataset_folder, encoder_folder, tmp_path / "out")
    before = (tmp_path / "out" / RAW_EMBEDDINGS_FILE).read_bytes()
    save_raw_embeddings(np.zeros((8, 32), dtype=np.float32), tmp_path / "out" / "shard-000000032.safetensors")
    run(dataset_folder, tmp_path / "nowhere", tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").iterdir()] == [RAW_EMBEDDINGS_FILE]
    assert (tmp_path / "out" / RAW_EMBEDDINGS_FILE).read_bytes() == before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_items(encoder_folder: Path, tmp_path: Path) -> None:
    """20,000 items take hardly more than 1,000, though their attributes and vectors are far larger."""
    for name, num_items in (("small", 1000), ("large", 20_000)):
        write_prepared(tmp_path / name, num_items=num_items)
        (tmp_path / "out" / name).mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), str(encoder_folder), str(tmp_path / "out")],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(int, done.stdout.split())

    assert read_raw_embeddings(tmp_path / "out" / "large").shape == (20_000, 32)
    assert large - small < 10_000, "kibibytes"
