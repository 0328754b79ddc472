"""Bundle format 4, as anyone reads it without this project: JSON, safetensors, Parquet and FAISS, by name and type.

A change here is a change of the format: it takes another `FORMAT_VERSION`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from llmemb.bundle import FORMAT_VERSION
from llmemb.index import IndexKind
from tests.support.tiny import write_tiny_bundle

FORMAT_4 = {
    "": [
        "categories_attribute",
        "checksum",
        "dim",
        "encoder",
        "files",
        "format_version",
        "has_residual",
        "id",
        "index",
        "metrics",
        "num_items",
        "prompt",
        "provenance",
        "scoring",
        "seed",
        "selection",
        "semantic_term",
        "sequence_model",
    ],
    "encoder": ["base", "depth", "max_tokens", "pooling", "width"],
    "index": ["hnsw", "ivf", "kind", "recall_at_10", "recall_queries"],
    "prompt": ["attribute_names", "domain", "instruction", "max_value_characters"],
    "provenance": ["config", "created_at", "versions"],
    "semantic_term": ["components", "decay", "delta", "gamma", "history", "text_map"],
    "sequence_model": ["dim", "dropout", "heads", "layers", "max_length", "name"],
}
"""Keys of the manifest and of the objects in it."""


@pytest.fixture(scope="module")
def manifest(full_bundle: Path) -> dict[str, Any]:
    """The manifest as plain JSON."""
    content: dict[str, Any] = json.loads((full_bundle / "manifest.json").read_text(encoding="utf-8"))
    return content


def test_manifest_has_the_keys_of_format_4(manifest: dict[str, Any]) -> None:
    """The manifest's keys are those of format 4, no more and no less."""
    keys = {"": sorted(manifest)} | {
        name: sorted(value) for name, value in manifest.items() if isinstance(value, dict) and name != "files"
    }

    assert manifest["format_version"] == FORMAT_VERSION == 4
    assert keys == FORMAT_4
    assert sorted(manifest["metrics"][0]) == ["group", "model", "name", "value"]
    assert sorted(manifest["selection"][0]) == ["chosen", "metric", "option", "trials"]
    assert sorted(manifest["selection"][0]["trials"][0]) == ["score", "value"]


def test_manifest_lists_every_other_file_with_its_hash(full_bundle: Path, manifest: dict[str, Any]) -> None:
    """Each file but the manifest is there with its SHA-256 and size."""
    files = {
        path.relative_to(full_bundle).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in full_bundle.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }

    assert manifest["files"] == files


def test_bundle_holds_no_code(full_bundle: Path) -> None:
    """safetensors, Parquet, JSON and FAISS only: nothing that runs when it is read."""
    suffixes = {path.suffix for path in full_bundle.rglob("*") if path.is_file()}

    assert suffixes == {".json", ".safetensors", ".parquet", ".faiss"}


def test_id_is_the_hash_of_all_that_decides_an_answer(manifest: dict[str, Any]) -> None:
    """The id can be computed again by anyone: sorted JSON without id, figures, provenance and checksum."""
    excluded = {"id", "metrics", "selection", "provenance", "checksum"}
    content = {key: manifest[key] for key in manifest.keys() - excluded}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()

    assert manifest["id"] == hashlib.sha256(canonical).hexdigest()[:16]


def test_tensors_have_the_names_types_and_shapes_of_format_4(full_bundle: Path, manifest: dict[str, Any]) -> None:
    """The affine maps and the tables are float32, the successor vectors float16, of the manifest's shapes."""
    N, h, d = manifest["num_items"], manifest["encoder"]["width"], manifest["dim"]
    q = manifest["semantic_term"]["components"]
    files = {
        "projection": {"weight": (h, d), "bias": (d,)},
        "semantic_term": {"weight": (h, q), "bias": (q,), "text_map": (q, q)},
        "item_embeddings": {"semantic": (N, d), "residual": (N, d), "profile": (N, q), "successors": (N, q)},
        "map_positions": {"positions": (N, 2)},
    }
    for name, shapes in files.items():
        arrays = load_file(full_bundle / f"{name}.safetensors")

        assert {array: values.shape for array, values in arrays.items()} == shapes
        types = {array: values.dtype for array, values in arrays.items()}
        assert types == {array: np.dtype(np.float16 if array == "successors" else np.float32) for array in shapes}


def test_bundle_without_residual_and_semantic_term_stores_neither(tiny_llm: Path, tmp_path: Path) -> None:
    """`has_residual` false and `semantic_term` null mean one table of embeddings."""
    bundle = write_tiny_bundle(tmp_path / "bundle", tiny_llm, with_residual=False)
    manifest = json.loads((bundle / "manifest.json").read_text())

    assert (manifest["has_residual"], manifest["semantic_term"], manifest["scoring"]) == (False, None, "dot")
    assert list(load_file(bundle / "item_embeddings.safetensors")) == ["semantic"]
    assert "semantic_term.safetensors" not in manifest["files"]
    assert not (bundle / "semantic_term.safetensors").exists()


def test_items_have_the_columns_of_format_4(full_bundle: Path, manifest: dict[str, Any]) -> None:
    """One row an item: id, attributes as JSON, interactions in training."""
    items = pl.read_parquet(full_bundle / "items.parquet")

    assert items.schema == {"id": pl.String, "attributes": pl.String, "popularity": pl.Int64}
    assert len(items) == manifest["num_items"]
    assert sorted(json.loads(items["attributes"][0])) == ["genres", "release_year", "title"]


def test_index_is_faiss_flat_inner_product(tiny_bundle: Path) -> None:
    """FAISS reads the index itself; it holds projection plus residual, exactly."""
    index = faiss.read_index(str(tiny_bundle / "index.faiss"))
    tables = load_file(tiny_bundle / "item_embeddings.safetensors")

    assert type(index) is faiss.IndexFlatIP
    np.testing.assert_array_equal(index.reconstruct_n(), tables["semantic"] + tables["residual"])


@pytest.mark.parametrize(
    ("kind", "parameters", "faiss_class"),
    [
        ("hnsw", {"neighbours": 32, "ef_construction": 128, "ef_search": 128}, faiss.IndexHNSWFlat),
        ("ivf", {"cells": 25, "probes": 16}, faiss.IndexIVFFlat),
    ],
)
def test_other_kinds_of_index(
    kind: IndexKind, parameters: dict[str, int], faiss_class: type, tiny_llm: Path, tmp_path: Path
) -> None:
    """The manifest names the kind, its parameters and the recall, and FAISS reads an index over the inner product that
    holds the item vectors unchanged."""
    bundle = write_tiny_bundle(tmp_path / "bundle", tiny_llm, index=kind)
    described = json.loads((bundle / "manifest.json").read_text())["index"]
    index = faiss.read_index(str(bundle / "index.faiss"))
    tables = load_file(bundle / "item_embeddings.safetensors")

    assert described == {
        "kind": kind,
        "hnsw": None,
        "ivf": None,
        "recall_at_10": 1.0,
        "recall_queries": 40,
    } | {kind: parameters}
    assert type(index) is faiss_class
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    if kind == "ivf":
        index.make_direct_map()
    np.testing.assert_array_equal(index.reconstruct_n(0, 40), tables["semantic"] + tables["residual"])


def test_categories_attribute_is_named(manifest: dict[str, Any]) -> None:
    """The manifest names the attribute whose values are an item's categories."""
    assert manifest["categories_attribute"] == "genres"
    assert manifest["categories_attribute"] in manifest["prompt"]["attribute_names"]


def test_index_holds_unit_embeddings_and_profile_vectors(full_bundle: Path) -> None:
    """With cosine and a semantic term: the sum at unit length, and the profile vector after it."""
    index = faiss.read_index(str(full_bundle / "index.faiss"))
    tables = load_file(full_bundle / "item_embeddings.safetensors")
    total = tables["semantic"] + tables["residual"]
    unit = total / np.linalg.norm(total, axis=1, keepdims=True)

    np.testing.assert_allclose(index.reconstruct_n(), np.hstack([unit, tables["profile"]]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(tables["profile"], axis=1), 1, rtol=1e-6)


def test_embeddings_follow_from_the_files(full_bundle: Path) -> None:
    """`x @ weight + bias` of sentence-transformers' raw vectors is the stored table, and at unit length the profile:
    serving needs nothing else."""
    from sentence_transformers import SentenceTransformer

    items = pl.read_parquet(full_bundle / "items.parquet")
    projection = load_file(full_bundle / "projection.safetensors")
    prompt = json.loads((full_bundle / "manifest.json").read_text())["prompt"]
    prompts = []
    for attributes in map(json.loads, items["attributes"]):
        values = {name: value if isinstance(value, str) else ", ".join(value) for name, value in attributes.items()}
        known = [f"{name} is {values[name]}" for name in prompt["attribute_names"]]
        prompts.append(prompt["instruction"].replace("{domain}", prompt["domain"]) + "; ".join(known))

    raw = SentenceTransformer(str(full_bundle / "encoder"), device="cpu").encode(prompts)

    stored = load_file(full_bundle / "item_embeddings.safetensors")
    np.testing.assert_allclose(raw @ projection["weight"] + projection["bias"], stored["semantic"], atol=1e-3)
    term = load_file(full_bundle / "semantic_term.safetensors")
    reduced = raw @ term["weight"] + term["bias"]
    unit = reduced / np.linalg.norm(reduced, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, stored["profile"], atol=1e-3)
