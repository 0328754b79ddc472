"""`llmemb.bundle.manifest`: what it says is what the bundle holds."""

import json
from pathlib import Path

import pytest

from llmemb.bundle import Manifest, Selection, Trial, read_bundle
from llmemb.bundle.manifest import SemanticTermInfo
from tests.support.tiny import TINY_DIM, TINY_SELECTION, TINY_TERM_COMPONENTS, TINY_TERM_DECAY, TINY_TERM_HISTORY


def test_manifest_says_what_is_in_the_bundle(tiny_bundle: Path) -> None:
    """Shapes and figures of the manifest are those of the parts."""
    bundle = read_bundle(tiny_bundle)
    manifest = bundle.manifest

    assert (manifest.num_items, manifest.dim) == bundle.semantic.shape == (40, TINY_DIM)
    assert manifest.encoder.width == bundle.projection.weight.shape[0] == bundle.load_encoder().width
    assert manifest.encoder.depth == bundle.load_encoder().depth
    assert manifest.has_residual
    assert manifest.sequence_model == bundle.sequence_model.spec
    assert (manifest.scoring, manifest.semantic_term) == ("dot", None)
    assert [metric.value for metric in manifest.metrics] == [0.125]
    assert manifest.selection == (TINY_SELECTION,)


def test_manifest_describes_the_semantic_term(full_bundle: Path) -> None:
    """Weight, history and width are in the manifest, the whitening in a file."""
    bundle = read_bundle(full_bundle)

    assert bundle.manifest.scoring == "cosine"
    assert bundle.manifest.semantic_term == SemanticTermInfo(
        gamma=2.0,
        history=TINY_TERM_HISTORY,
        decay=TINY_TERM_DECAY,
        components=TINY_TERM_COMPONENTS,
        delta=1.5,
        text_map=True,
    )
    assert bundle.semantic_term is not None
    assert bundle.semantic_term.reduction.weight.shape == (32, TINY_TERM_COMPONENTS)


@pytest.mark.parametrize("value", [8, 0.5, "popular"])
def test_selection_keeps_the_kind_of_its_values(value: float | str) -> None:
    """A whole number, a fraction or a name is read as it was written."""
    trial = Trial(value=value, score=0.25)
    choice = Selection(option="rat.x", chosen=value, metric="NDCG@10", trials=(trial,))
    read = Selection.model_validate_json(choice.model_dump_json())

    assert read == choice
    assert type(read.chosen) is type(read.trials[0].value) is type(value)


def test_manifest_is_readable_json(tiny_bundle: Path) -> None:
    """The manifest is indented JSON that the model itself reads back."""
    text = (tiny_bundle / "manifest.json").read_text()

    assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n" == text
    assert Manifest.model_validate_json(text).content_id() == json.loads(text)["id"]
