"""`training.steps.scft`: from a prepared dataset to an encoder, by any kind of positives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llmemb.encoder import Encoder, load_llm
from tests.support.prepared import TASTES, write_prepared
from training.config import EncoderConfig, ScftConfig
from training.dataset import Dataset, read_dataset
from training.embedding_sample import read_sample
from training.steps import scft


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 movies, 4 of them cold; read it, never write to it."""
    return write_prepared(tmp_path_factory.mktemp("scft") / "prepare")


def run(dataset_folder: Path, llm: Path, output: Path, **values: object) -> tuple[Encoder, str]:
    """Run the step; return the encoder it wrote and its summary."""
    config = ScftConfig.model_validate({"batch_items": 8, "max_steps": 3, "lora_dropout": 0.0} | values)
    encoder_config = EncoderConfig(base=str(llm), depth=1, max_tokens=64)
    summary = scft.run(config, encoder_config, 7, dataset_folder, output, output.with_name(f"{output.name}-logs"))
    return Encoder.load(output / "encoder"), summary


def prompts_of(dataset: Dataset) -> list[str]:
    return [dataset.prompt(100).render(attributes) for attributes in dataset.attributes()]


def test_each_kind_of_positives_gives_another_encoder(dataset_folder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """All of them plain encoders of the configured depth, each other than the base; nothing else is left behind."""
    prompts = prompts_of(read_dataset(dataset_folder))
    kinds = ("views", "co_occurrence", "both")
    encoders = [run(dataset_folder, tiny_llm, tmp_path / kind, positives=kind)[0] for kind in kinds]
    raw = [encoder.encode(prompts) for encoder in [load_llm(str(tiny_llm), depth=1, max_tokens=64), *encoders]]

    assert [encoder.depth for encoder in encoders] == [1, 1, 1]
    assert not any(np.allclose(raw[i], raw[j], atol=1e-4) for i in range(4) for j in range(i))
    for kind in kinds:
        assert {path.name for path in (tmp_path / kind).iterdir()} == {"encoder", "sample.safetensors"}


@pytest.mark.slow
def test_co_occurring_items_come_closer(dataset_folder: Path, tiny_llm: Path, tmp_path: Path) -> None:
    """Which studios are liked by the same users, the text does not say: co-occurrence teaches it, views do not."""
    dataset = read_dataset(dataset_folder)
    prompts, tastes = prompts_of(dataset), np.arange(dataset.num_items) % TASTES
    alike = tastes[:, None] == tastes
    margins = []
    for kind in ("views", "co_occurrence"):
        options = {"max_steps": 50, "learning_rate": 1e-2, "batch_items": 32, "temperature": 0.2, "drop_share": 0.0}
        encoder, _ = run(dataset_folder, tiny_llm, tmp_path / kind, positives=kind, whitened_components=0, **options)
        raw = torch.nn.functional.normalize(torch.from_numpy(encoder.encode(prompts)), dim=-1)
        cosines = (raw @ raw.T).numpy()
        margins.append(float(cosines[alike].mean() - cosines[~alike].mean()))

    assert margins[1] > margins[0] + 0.3


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
