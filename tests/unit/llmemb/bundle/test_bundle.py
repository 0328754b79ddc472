"""`llmemb.bundle`: what is written is read, the same content has the same id, and the parts must fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmemb.bundle import Bundle, BundleItems, Manifest, Provenance, read_bundle, write_bundle
from llmemb.errors import BundleError
from llmemb.projection import Projection
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModelSpec, build_sequence_model
from llmemb.session import session_vectors
from tests.support.tiny import TINY_DIM, TINY_PROMPT, tiny_items, write_tiny_bundle, write_tiny_llm


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    """The tiny bundle in memory."""
    return read_bundle(tiny_bundle)


def parts_of(bundle: Bundle) -> dict[str, Any]:
    """The arguments with which `write_bundle` writes that bundle again."""
    return {
        "prompt": bundle.prompt,
        "encoder_folder": bundle.folder / "encoder",
        "encoder": bundle.manifest.encoder,
        "projection": bundle.projection,
        "sequence_model": bundle.sequence_model,
        "items": bundle.items,
        "semantic": bundle.semantic,
        "residual": bundle.residual,
        "metrics": bundle.manifest.metrics,
        "seed": bundle.manifest.seed,
        "provenance": bundle.manifest.provenance,
    }


def test_bundle_holds_the_items(bundle: Bundle) -> None:
    """Ids, attributes and popularity come back, each under the item's row."""
    items = tiny_items()

    assert bundle.items.ids == tuple(item.id for item in items)
    assert [bundle.items.attributes(row) for row in range(len(items))] == [item.attributes for item in items]
    assert bundle.items.rows == {item.id: row for row, item in enumerate(items)}
    assert bundle.items.popularity.dtype == np.int64
    assert bundle.items.popularity[-4:].tolist() == [0, 0, 0, 0]
    assert bundle.prompt == TINY_PROMPT


def test_catalogue_embedded_again_is_the_stored_table(bundle: Bundle) -> None:
    """The bundle's own encoder and projection give each item its stored semantic vector."""
    prompts = [bundle.prompt.render(bundle.items.attributes(row)) for row in range(len(bundle.items.ids))]
    again = bundle.projection.apply(bundle.load_encoder().encode(prompts, batch_tokens=500))

    cosine = (again * bundle.semantic).sum(axis=1) / np.linalg.norm(again, axis=1)
    assert (cosine / np.linalg.norm(bundle.semantic, axis=1)).min() >= 0.9999


def test_item_embedding_is_projection_plus_residual(bundle: Bundle) -> None:
    """An item's embedding is the sum, and the semantic part alone where it has no interactions."""
    assert bundle.residual is not None
    np.testing.assert_array_equal(bundle.item_embeddings, bundle.semantic + bundle.residual)
    np.testing.assert_array_equal(bundle.item_embeddings[-4:], bundle.semantic[-4:])


def test_index_is_over_the_item_embeddings(bundle: Bundle) -> None:
    """The index ranks by the inner product with what `item_embeddings` holds."""
    queries = bundle.item_embeddings[:5]

    for query, hits in zip(queries, bundle.index.search(queries, 40, [set()] * 5), strict=True):
        np.testing.assert_allclose(hits.scores, np.sort(bundle.item_embeddings @ query)[::-1], rtol=1e-4)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
@pytest.mark.parametrize("with_residual", [True, False])
def test_written_again_a_bundle_is_the_same(name: str, *, with_residual: bool, tiny_llm: Path, tmp_path: Path) -> None:
    """Whatever the sequence model, with or without a residual, read and written again it has the same id and parts."""
    first = read_bundle(
        write_tiny_bundle(tmp_path / "a", tiny_llm, sequence_model=name, with_residual=with_residual, seed=3)
    )
    write_bundle(tmp_path / "b", **parts_of(first))
    second = read_bundle(tmp_path / "b")
    history = [first.item_embeddings[[3, 1, 4]]]

    assert second.manifest == first.manifest
    assert (first.residual is None) == (second.residual is None) == (not with_residual)
    assert not first.sequence_model.training
    np.testing.assert_array_equal(second.item_embeddings, first.item_embeddings)
    np.testing.assert_array_equal(
        session_vectors(second.sequence_model, history), session_vectors(first.sequence_model, history)
    )


def test_manifest_says_what_is_in_the_bundle(bundle: Bundle) -> None:
    """Shapes and figures of the manifest are those of the parts."""
    manifest = bundle.manifest

    assert (manifest.num_items, manifest.dim) == bundle.semantic.shape == (40, TINY_DIM)
    assert manifest.encoder.width == bundle.projection.weight.shape[0] == bundle.load_encoder().width
    assert manifest.encoder.depth == bundle.load_encoder().depth
    assert manifest.has_residual
    assert manifest.sequence_model == bundle.sequence_model.spec
    assert [metric.value for metric in manifest.metrics] == [0.125]


def test_same_content_has_the_same_id_wherever_and_whenever(bundle: Bundle, tmp_path: Path) -> None:
    """Another folder, another hour, another machine's libraries and other figures do not change the id."""
    llm = write_tiny_llm(tmp_path / "another" / "place")
    elsewhere = read_bundle(write_tiny_bundle(tmp_path / "b", llm)).manifest
    later = write_bundle(
        tmp_path / "c",
        **parts_of(bundle)
        | {"provenance": Provenance(created_at="later", versions={"torch": "9"}, config={"a": 1}), "metrics": ()},
    )

    assert elsewhere == bundle.manifest
    assert later.id == bundle.manifest.id
    assert later.checksum != bundle.manifest.checksum


@pytest.mark.parametrize("changed", ["prompt", "semantic", "items", "seed", "projection", "encoder"])
def test_other_content_has_another_id(changed: str, bundle: Bundle, tmp_path: Path) -> None:
    """Whatever decides an answer decides the id."""
    bias = bundle.projection.bias + 1
    others: dict[str, object] = {
        "prompt": replace(bundle.prompt, max_value_characters=50),
        "semantic": bundle.semantic * 2,
        "items": replace(bundle.items, popularity=bundle.items.popularity + 1),
        "seed": 99,
        "projection": replace(bundle.projection, bias=bias),
        "encoder": bundle.manifest.encoder.model_copy(update={"base": "another"}),
    }

    other = write_bundle(tmp_path / "b", **parts_of(bundle) | {changed: others[changed]})

    assert other.id != bundle.manifest.id


def test_arrays_of_any_memory_order_are_written_right(bundle: Bundle, tmp_path: Path) -> None:
    """A transposed or reversed array is stored by its values, not by its memory."""
    weight = np.asfortranarray(bundle.projection.weight)
    semantic = np.ascontiguousarray(bundle.semantic[::-1])[::-1]
    write_bundle(
        tmp_path / "b",
        **parts_of(bundle)
        | {"projection": Projection(weight=weight, bias=bundle.projection.bias), "semantic": semantic},
    )

    assert read_bundle(tmp_path / "b").manifest.id == bundle.manifest.id


def test_writing_replaces_the_old_bundle(bundle: Bundle, tiny_llm: Path, tmp_path: Path) -> None:
    """A second bundle takes the first one's place; nothing else lies beside it."""
    write_tiny_bundle(tmp_path / "bundle", tiny_llm, sequence_model="gru4rec")
    write_bundle(tmp_path / "bundle", **parts_of(bundle))

    assert read_bundle(tmp_path / "bundle").manifest.sequence_model.name == "sasrec"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def narrow_model() -> object:
    """A sequence model of another width than the tiny bundle's."""
    return build_sequence_model(SequenceModelSpec(dim=TINY_DIM - 1))


@pytest.mark.parametrize(
    ("part", "misfit", "message"),
    [
        ("semantic", np.zeros((39, TINY_DIM), dtype=np.float32), r"^semantic has the shape \(39, 16\)"),
        ("semantic", np.zeros((40, 3), dtype=np.float32), r"make \(40, 16\)$"),
        ("residual", np.zeros((40, 17), dtype=np.float32), r"^residual has the shape \(40, 17\)"),
        ("sequence_model", narrow_model(), r"^the sequence model has width 15, the projection 16$"),
        (
            "projection",
            Projection(np.zeros((31, TINY_DIM), dtype=np.float32), np.zeros(TINY_DIM, dtype=np.float32)),
            r"^the encoder has width 32, the projection reads 31$",
        ),
        (
            "items",
            BundleItems(ids=("a",) * 40, attributes_json=("{}",) * 40, popularity=np.zeros(39, dtype=np.int64)),
            r"^items has 40 ids, 40 attributes and 39 popularities$",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    part: str, misfit: object, message: str, bundle: Bundle, tmp_path: Path
) -> None:
    """A table, model, projection or column of another shape is refused before anything is written."""
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "b", **parts_of(bundle) | {part: misfit})

    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """A write that fails midway changes nothing and leaves nothing beside it."""
    write_bundle(tmp_path / "b", **parts_of(bundle))

    with pytest.raises(FileNotFoundError):
        write_bundle(tmp_path / "b", **parts_of(bundle) | {"encoder_folder": tmp_path / "missing"})

    assert read_bundle(tmp_path / "b").manifest == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_bundle_can_be_moved(tiny_bundle: Path, tmp_path: Path) -> None:
    """A bundle copied elsewhere is the same bundle: no path in it names a place."""
    copy = shutil.copytree(tiny_bundle, tmp_path / "elsewhere")
    texts = [path.read_text() for path in copy.rglob("*.json")]

    assert read_bundle(copy).load_encoder().width == 32
    assert not [text for text in texts if str(tiny_bundle.parent) in text]


def test_manifest_is_readable_json(tiny_bundle: Path) -> None:
    """The manifest is indented JSON that the model itself reads back."""
    text = (tiny_bundle / "manifest.json").read_text()

    assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n" == text
    assert Manifest.model_validate_json(text).content_id() == json.loads(text)["id"]


def test_reading_a_bundle_draws_no_random_number_that_matters(tiny_bundle: Path) -> None:
    """Whatever the state of torch's generator, the model has the stored weights."""
    torch.manual_seed(1)
    first = read_bundle(tiny_bundle).sequence_model.state_dict()
    torch.manual_seed(2)
    second = read_bundle(tiny_bundle).sequence_model.state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)
