"""Every family of bases through the whole line: from a folder as on the Hugging Face hub to a served bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch.nn import Linear

from llmemb.bundle import read_bundle
from llmemb.encoder.encoder import load_llm
from llmemb_training import pipeline
from llmemb_training.config import load_config
from llmemb_training.runs.run_folder import RunFolder
from tests.support.catalogue import write_catalogue
from tests.support.families import FAMILIES, WIDTH, write_family, write_sentence_transformer
from tests.support.service import make_settings, running

INSTRUCTION = "Represent the {domain}: "
CONFIG = """\
seed = 7

[prepare]
path = {path}
domain = "movie"
min_interactions = 3
instruction = "{instruction}"

[encoder]
base = {base}
depth = 2
pooling = "{pooling}"
max_tokens = 64

[scft]
batch_items = 8
max_pairs = 8
learning_rate = 1e-2

[rat]
components = 16
max_epochs = 1

[rat.semantic_term]
gamma = 1.0
components = 8

[rat.model]
dim = 16
max_length = 8

[evaluate]
num_negatives = 10
bootstrap_samples = 100
baselines = false
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up catalogue; read it, never write to it."""
    return write_catalogue(tmp_path_factory.mktemp("families") / "source")


@pytest.fixture(scope="module")
def first(source: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on a sentence-transformers folder; the others take over from it what does not depend on the base."""
    folder = tmp_path_factory.mktemp("families")
    return trained(folder, source, write_sentence_transformer(folder / "base", "bert", "0_Transformer"), "bert", [])


def trained(folder: Path, source: Path, base: Path, name: str, shared: list[RunFolder]) -> RunFolder:
    config = CONFIG.format(
        path=json.dumps(str(source)),
        base=json.dumps(str(base)),
        pooling=FAMILIES[name].pooling,
        instruction=INSTRUCTION,
    )
    (folder / "tiny.toml").write_text(config, encoding="utf-8")
    pipeline.train(load_config(folder / "tiny.toml"), folder / "run", shared=shared)
    return RunFolder(folder / "run")


@pytest.mark.parametrize("name", FAMILIES)
def test_family_trains_to_a_bundle_that_serves(name: str, source: Path, first: RunFolder, tmp_path: Path) -> None:
    """SCFT changes every layer that is kept, and the bundle's encoder gives the stored vectors of its items again."""
    base = write_family(tmp_path / "base", name)
    run = trained(tmp_path, source, base, name, [first])
    bundle = read_bundle(run.step("bundle"))
    encoder = bundle.load_encoder()
    prompts = [bundle.prompt.render(bundle.items.attributes(row)) for row in range(len(bundle.items.ids))]
    raw = encoder.encode(prompts)
    before = load_llm(str(base), depth=2, max_tokens=64).model.state_dict()
    after = load_file(run.step("bundle") / "encoder" / "model.safetensors")

    assert after.keys() == before.keys()
    assert {key for key in after if after[key].ndim == 2 and not after[key].equal(before[key])} == {
        f"{key}.weight" for key, module in encoder.model.named_modules() if isinstance(module, Linear)
    }
    assert prompts[0].startswith("Represent the movie: title is ")
    assert bundle.prompt.instruction == INSTRUCTION
    assert bundle.manifest.encoder.model_dump() == {
        "base": "base", "depth": 2, "width": WIDTH, "pooling": FAMILIES[name].pooling, "max_tokens": 64,
    }  # fmt: skip
    assert encoder.model.config.model_type == FAMILIES[name].kind
    np.testing.assert_allclose(bundle.projection.apply(raw), bundle.semantic, rtol=0, atol=1e-4)
    assert bundle.semantic_term is not None
    assert bundle.profile is not None
    np.testing.assert_allclose(bundle.semantic_term.apply(raw), bundle.profile, rtol=0, atol=1e-4)


def test_family_is_served_by_the_app(first: RunFolder, tmp_path: Path) -> None:
    """Each item embedded again has its stored vector, a new one the projection alone; all can be recommended."""
    bundle = read_bundle(first.step("bundle"))
    items = [
        {"id": item_id, "attributes": dict(bundle.items.attributes(row))} for item_id, row in bundle.items.rows.items()
    ]
    new = {"id": "new", "attributes": items[0]["attributes"]}
    with running(make_settings(first.step("bundle"), tmp_path / "state")) as client:
        answer = client.post("/embed_items", json={"items": [*items, new], "index": True}).json()
        recommended = client.post("/recommend", json={"history": ["new"], "k": 40}).json()
    vectors = np.array([each["embedding"] for each in answer["embeddings"]])

    np.testing.assert_allclose(vectors[:-1], bundle.item_embeddings, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(vectors[-1], bundle.semantic[0], rtol=1e-3, atol=1e-4)
    assert {each["id"] for each in recommended["items"]} == set(bundle.items.ids)
