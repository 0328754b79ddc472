"""`llmemb_training.steps.scft`: from a prepared dataset to an encoder, by any kind of positives."""

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.errors import ConfigError, DataError
from llmemb_training.config import EncoderConfig, ScftConfig
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.embedding.sample import read_sample
from llmemb_training.steps import scft
from tests.support.prepared import TASTES, write_prepared


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 movies, 4 of them cold; read it, never write to it."""
    return write_prepared(tmp_path_factory.mktemp("scft") / "prepare")


def run(dataset_folder: Path, llm: Path, output: Path, **values: object) -> tuple[Encoder, str]:
    """Run the step; return the encoder it wrote and its summary."""
    config = ScftConfig.model_validate({"batch_items": 8, "batch_histories": 8, "max_pairs": 24} | values)
    encoder_config = EncoderConfig(base=str(llm), depth=1, max_tokens=64)
    summary = scft.run(config, encoder_config, 7, dataset_folder, output, output.with_name(f"{output.name}-logs"))
    return Encoder.load(output / "encoder"), summary


def prompts_of(dataset: Dataset) -> list[str]:
    return [dataset.prompt(100).render(attributes) for attributes in dataset.attributes()]


def test_each_kind_of_positives_gives_another_encoder(dataset_folder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """All of them plain encoders of the configured depth, each other than the base; nothing else is left behind."""
    prompts = prompts_of(read_dataset(dataset_folder))
    kinds = ("views", "next", "both")
    encoders = [run(dataset_folder, tiny_llm, tmp_path / kind, positives=kind)[0] for kind in kinds]
    raw = [encoder.encode(prompts) for encoder in [load_llm(str(tiny_llm), depth=1, max_tokens=64), *encoders]]

    assert [encoder.depth for encoder in encoders] == [1, 1, 1]
    assert not any(np.allclose(raw[i], raw[j], atol=1e-4) for i in range(4) for j in range(i))
    for kind in kinds:
        assert {path.name for path in (tmp_path / kind).iterdir()} == {"encoder", "lora", "sample.safetensors"}


@pytest.mark.slow
def test_items_of_a_taste_come_closer(dataset_folder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """Which studios are liked by the same users, the text does not say: what came next teaches it, views do not."""
    dataset = read_dataset(dataset_folder)
    prompts, tastes = prompts_of(dataset), np.arange(dataset.num_items) % TASTES
    alike = tastes[:, None] == tastes
    margins = []
    for kind in ("views", "next"):
        options = {"max_pairs": 1600, "learning_rate": 1e-2, "batch_items": 32, "temperature": 0.2, "drop_share": 0.0}
        encoder, _ = run(dataset_folder, tiny_llm, tmp_path / kind, positives=kind, whitened_components=0, **options)
        raw = torch.nn.functional.normalize(torch.from_numpy(encoder.encode(prompts)), dim=-1)
        cosines = (raw @ raw.T).numpy()
        margins.append(float(cosines[alike].mean() - cosines[~alike].mean()))

    assert margins[1] > margins[0] + 0.3


def test_summary_counts_pairs(dataset_folder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """What was trained, and how fast: three batches of eight items with two views."""
    _, summary = run(dataset_folder, tiny_llm, tmp_path / "scft", positives="views")

    assert re.fullmatch(r"24 pairs in 3 steps, [\d.]+ pairs/s, loss \d+\.\d{3} at the end", summary)


def test_faults_are_told_before_any_work(dataset_folder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """An LLM that cannot generate, and a catalogue that reads all the same: nothing is trained."""
    with pytest.raises(ConfigError, match=r"scft\.generation_weight needs a causal LLM"):
        run(dataset_folder, tiny_llm, tmp_path / "generation", generation_weight=0.01)
    same = shutil.copytree(dataset_folder, tmp_path / "same")
    items = pl.read_parquet(same / "items.parquet")
    items.with_columns(attributes=pl.lit('{"title":"Film"}')).write_parquet(same / "items.parquet")
    with pytest.raises(DataError, match=r"all 36 items have the same prompt"):
        run(same, tiny_llm, tmp_path / "alike")

    assert not (tmp_path / "generation" / "sample.safetensors").exists()
    assert not (tmp_path / "alike").exists()


@pytest.mark.parametrize("enabled", [True, False])
def test_sample_is_of_the_base(dataset_folder: Path, tiny_llm: Path, tmp_path: Path, enabled: bool) -> None:
    """Items of a small catalogue are all in it, cold ones too, as the untuned LLM of that depth embeds them."""
    dataset = read_dataset(dataset_folder)
    encoder, summary = run(dataset_folder, tiny_llm, tmp_path / "scft", enabled=enabled)
    sample = read_sample(tmp_path / "scft")
    prompts = prompts_of(dataset)
    base = load_llm(str(tiny_llm), depth=1, max_tokens=64)

    assert sample.rows.tolist() == list(range(dataset.num_items))
    assert dataset.num_warm < dataset.num_items
    assert np.array_equal(sample.before, base.encode(prompts))
    assert np.array_equal(encoder.encode(prompts), base.encode(prompts)) == (not enabled)
    assert summary.startswith("switched off") == (not enabled)
