"""`llmemb.bundle`: a bundle reads back as written, equal content has an equal id, and the parts must fit."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmemb.bundle import (
    Bundle,
    BundleItems,
    Provenance,
    read_bundle,
    write_bundle,
)
from llmemb.errors import BundleCorruptError, BundleError
from llmemb.index import IndexKind, RowFilter, choose_spec
from llmemb.scoring.item_space import Scoring
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.scoring.session import session_vectors
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModelSpec, build_sequence_model
from tests.support.tiny import (
    TINY_DIM,
    TINY_PROMPT,
    TINY_TERM_COMPONENTS,
    tiny_items,
    write_tiny_bundle,
    write_tiny_llm,
)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    """The tiny bundle in memory."""
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def full(full_bundle: Path) -> Bundle:
    """The bundle with all that a bundle can have, in memory."""
    return read_bundle(full_bundle)


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
        "scoring": bundle.manifest.scoring,
        "semantic_term": bundle.semantic_term,
        "profile": bundle.profile,
        "successors": bundle.successors,
        "map_positions": bundle.stored_positions,
        "metrics": bundle.manifest.metrics,
        "selection": bundle.manifest.selection,
        "seed": bundle.manifest.seed,
        "provenance": bundle.manifest.provenance,
        "index": bundle.manifest.index,
        "categories_attribute": bundle.manifest.categories_attribute,
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


def test_cosine_gives_item_embeddings_unit_length(full: Bundle) -> None:
    """Their direction is that of the sum; the stored parts keep their lengths."""
    assert full.residual is not None
    total = full.semantic + full.residual
    length = np.linalg.norm(total, axis=1, keepdims=True)

    np.testing.assert_allclose(np.linalg.norm(full.item_embeddings, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(full.item_embeddings * length, total, rtol=1e-5, atol=1e-6)
    assert length.max() > 2 * length.min()


def test_item_vector_is_item_embedding_and_profile_vector(full: Bundle) -> None:
    """Side by side, and what the bundle's own space makes of the semantic parts."""
    assert full.profile is not None
    np.testing.assert_array_equal(full.item_vectors[:, :TINY_DIM], full.item_embeddings)
    np.testing.assert_array_equal(full.item_vectors[:, TINY_DIM:], full.profile)
    assert full.space.width == full.index.dim == TINY_DIM + TINY_TERM_COMPONENTS


def test_without_a_semantic_term_the_item_vector_is_the_item_embedding(bundle: Bundle) -> None:
    """Nothing stands beside it."""
    assert bundle.profile is None
    np.testing.assert_array_equal(bundle.item_vectors, bundle.item_embeddings)


@pytest.mark.parametrize("which", ["bundle", "full"])
def test_index_is_over_the_item_vectors(which: str, request: pytest.FixtureRequest) -> None:
    """The index ranks by the inner product with what `item_vectors` holds."""
    bundle: Bundle = request.getfixturevalue(which)
    queries = bundle.item_vectors[:5]

    for query, hits in zip(queries, bundle.index.search(queries, [40] * 5, [RowFilter()] * 5), strict=True):
        np.testing.assert_allclose(hits.scores, np.sort(bundle.item_vectors @ query)[::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
@pytest.mark.parametrize(
    ("with_residual", "scoring", "gamma", "delta"),
    [(True, "dot", 0, 0), (False, "dot", 0, 0), (True, "cosine", 0.5, 0), (False, "dot", 0.5, 0.25)],
)
def test_written_again_a_bundle_is_the_same(
    name: str, with_residual: bool, scoring: Scoring, gamma: float, delta: float, tiny_llm: Path, tmp_path: Path
) -> None:
    """Whatever the sequence model and the options, read and written again it has the same id and parts."""
    first = read_bundle(
        write_tiny_bundle(
            tmp_path / "a",
            tiny_llm,
            sequence_model=name,
            with_residual=with_residual,
            scoring=scoring,
            gamma=gamma,
            delta=delta,
            seed=3,
        )
    )
    write_bundle(tmp_path / "b", **parts_of(first))
    second = read_bundle(tmp_path / "b")
    rows = np.array([3, 1, 4])
    history = [first.history_vectors(first.item_vectors[rows], rows)]

    assert second.manifest == first.manifest
    assert (first.residual is None) == (second.residual is None) == (not with_residual)
    assert (first.semantic_term is None) == (second.semantic_term is None) == (not gamma)
    assert (first.successors is None) == (second.successors is None) == (not delta)
    assert not first.sequence_model.training
    np.testing.assert_array_equal(second.item_vectors, first.item_vectors)
    assert first.stored_positions is not None
    np.testing.assert_array_equal(second.map_positions, first.stored_positions)
    np.testing.assert_array_equal(
        session_vectors(
            second.sequence_model, [second.history_vectors(second.item_vectors[rows], rows)], second.semantic_term
        ),
        session_vectors(first.sequence_model, history, first.semantic_term),
    )


def test_same_content_has_the_same_id_wherever_and_whenever(bundle: Bundle, tmp_path: Path) -> None:
    """Another folder, another hour, another machine's libraries and other figures do not change the id."""
    llm = write_tiny_llm(tmp_path / "another" / "place")
    elsewhere = read_bundle(write_tiny_bundle(tmp_path / "b", llm)).manifest
    later = write_bundle(
        tmp_path / "c",
        **parts_of(bundle)
        | {
            "provenance": Provenance(created_at="later", versions={"torch": "9"}, config={"a": 1}),
            "metrics": (),
            "selection": (),
        },
    )

    assert elsewhere == bundle.manifest
    assert later.id == bundle.manifest.id
    assert later.checksum != bundle.manifest.checksum


@pytest.mark.parametrize(
    "changed",
    [
        "prompt",
        "semantic",
        "items",
        "seed",
        "projection",
        "encoder",
        "instruction",
        "scoring",
        "semantic_term",
        "profile",
        "successors",
        "text_map",
        "delta",
        "index",
        "categories_attribute",
    ],
)
def test_other_content_has_another_id(changed: str, full: Bundle, tmp_path: Path) -> None:
    """Whatever decides an answer decides the id."""
    bundle = full
    assert bundle.semantic_term is not None
    assert bundle.profile is not None
    assert bundle.successors is not None
    bias = bundle.projection.bias + 1
    others: dict[str, object] = {
        "prompt": replace(bundle.prompt, max_value_characters=50),
        "instruction": replace(bundle.prompt, instruction=""),
        "semantic": bundle.semantic * 2,
        "items": replace(bundle.items, popularity=bundle.items.popularity + 1),
        "seed": 99,
        "projection": replace(bundle.projection, bias=bias),
        "encoder": bundle.manifest.encoder.model_copy(update={"base": "another"}),
        "scoring": "dot",
        "semantic_term": replace(bundle.semantic_term, gamma=1.0),
        "profile": bundle.profile[::-1],
        "successors": bundle.successors[::-1],
        "text_map": replace(bundle.semantic_term, text_map=None),
        "delta": replace(bundle.semantic_term, delta=0.5),
        "index": choose_spec(40, "hnsw"),
        "categories_attribute": None,
    }

    part = {"text_map": "semantic_term", "delta": "semantic_term", "instruction": "prompt"}.get(changed, changed)

    other = write_bundle(tmp_path / "b", **parts_of(bundle) | {part: others[changed]})

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
    """A second bundle takes the first one's place; nothing else is left beside it."""
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
        (
            "map_positions",
            np.zeros((39, 2), dtype=np.float32),
            r"^map_positions has the shape \(39, 2\), .* \(40, 2\)$",
        ),
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


@pytest.mark.parametrize(
    ("part", "misfit", "message"),
    [
        ("profile", None, r"^profile is None: a semantic term and the items' profile vectors come together$"),
        ("semantic_term", None, r"^semantic_term is None: "),
        ("successors", None, r"^delta is 1\.5, but successors is None$"),
        ("successors", np.zeros((40, 5), dtype=np.float16), r"^successors has the shape \(40, 5\), .* make \(40, 6\)$"),
        ("profile", np.zeros((40, 5), dtype=np.float32), r"^profile has the shape \(40, 5\), .* make \(40, 6\)$"),
        (
            "semantic_term",
            SemanticTerm(Projection(np.zeros((31, 6), dtype=np.float32), np.zeros(6, dtype=np.float32)), 1.0, 3),
            r"^the encoder has width 32, the semantic term reads 31$",
        ),
    ],
)
def test_semantic_term_that_does_not_fit_is_refused(
    part: str, misfit: object, message: str, full: Bundle, tmp_path: Path
) -> None:
    """A term without its vectors, or of other shapes, is refused before anything is written."""
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "b", **parts_of(full) | {part: misfit})

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_bundle_with_another_index_gives_the_same_answers(
    kind: IndexKind, bundle: Bundle, tiny_llm: Path, tmp_path: Path
) -> None:
    """HNSW and IVF are read as what they are, and written again from the manifest they are the same bundle."""
    other = read_bundle(write_tiny_bundle(tmp_path / "a", tiny_llm, index=kind))
    again = write_bundle(tmp_path / "b", **parts_of(other))
    queries, filters = bundle.item_vectors[:5], [RowFilter(excluded=np.array([row])) for row in range(5)]

    assert other.index.spec == other.manifest.index
    assert (other.index.spec.kind, other.index.spec.recall_at_10, other.index.spec.recall_queries) == (kind, 1.0, 40)
    assert again == other.manifest
    for one, two in zip(
        other.index.search(queries, [10] * 5, filters), bundle.index.search(queries, [10] * 5, filters), strict=True
    ):
        assert one.rows.tolist() == two.rows.tolist()


def test_index_of_another_kind_than_the_manifest_says_is_refused(tiny_llm: Path, tmp_path: Path) -> None:
    """A manifest that was signed again with another kind of index does not pass."""
    folder = write_tiny_bundle(tmp_path / "a", tiny_llm)
    manifest = read_bundle(folder).manifest.model_copy(update={"index": choose_spec(40, "hnsw")})
    manifest = manifest.model_copy(update={"checksum": manifest.content_checksum()})
    (folder / "manifest.json").write_text(manifest.model_dump_json())

    with pytest.raises(BundleCorruptError, match=r"^index\.faiss: it is a IndexFlatIP, no index of kind hnsw$"):
        read_bundle(folder)


def test_categories_attribute_must_be_an_attribute(bundle: Bundle, tmp_path: Path) -> None:
    """A name that no item knows is refused before anything is written."""
    with pytest.raises(BundleError, match=r"^categories_attribute is 'shelf', which is none of the items' attributes$"):
        write_bundle(tmp_path / "b", **parts_of(bundle) | {"categories_attribute": "shelf"})

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


def test_reading_a_bundle_draws_no_random_number_that_matters(tiny_bundle: Path) -> None:
    """Whatever the state of torch's generator, the model has the stored weights."""
    torch.manual_seed(1)
    first = read_bundle(tiny_bundle).sequence_model.state_dict()
    torch.manual_seed(2)
    second = read_bundle(tiny_bundle).sequence_model.state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


READ_WHILE_REPLACED = """
import os, sys
from pathlib import Path
from llmemb.bundle import read_bundle
from llmemb.errors import BundleCorruptError

bundle, successor = Path(sys.argv[1]), Path(sys.argv[2])

def replace_after_the_hashes(event, arguments):
    if event == "open" and str(arguments[0]).endswith("sequence_model.safetensors") and successor.exists():
        bundle.rename(bundle.with_name("retired"))
        successor.rename(bundle)

sys.addaudithook(replace_after_the_hashes)
try:
    read_bundle(bundle)
except BundleCorruptError as error:
    print(error)
"""


def test_bundle_that_is_replaced_while_it_is_read_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Its parts would be of two bundles under one id: hashes are compared first, and the parts are loaded after."""
    first = shutil.copytree(bundle.folder, tmp_path / "bundle")
    parts = parts_of(bundle)
    write_bundle(tmp_path / "successor", **parts | {"residual": 2 * parts["residual"]})

    read = subprocess.run(
        [sys.executable, "-c", READ_WHILE_REPLACED, str(first), str(tmp_path / "successor")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert not (tmp_path / "successor").exists()
    assert read.stdout == f"{first} was replaced while it was read: read it again\n"
