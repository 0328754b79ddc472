"""`llmemb.bundle.read`: a bundle that is not whole is refused, and the error names the file."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmemb.bundle import FORMAT_VERSION, Manifest, read_bundle
from llmemb.bundle.read import read_manifest, verify_files
from llmemb.errors import BundleCorruptError, BundleError, BundleVersionError, ConfigError
from llmemb.files import save_arrays, sha256_of_file
from llmemb.item_map import pca_positions
from tests.support.tiny import TINY_DIM

FILES = [
    "encoder/1_Pooling/config.json",
    "encoder/config.json",
    "encoder/model.safetensors",
    "encoder/modules.json",
    "encoder/sentence_bert_config.json",
    "encoder/tokenizer.json",
    "encoder/tokenizer_config.json",
    "index.faiss",
    "item_embeddings.safetensors",
    "items.parquet",
    "manifest.json",
    "map_positions.safetensors",
    "projection.safetensors",
    "semantic_term.safetensors",
    "sequence_model.safetensors",
]


@pytest.fixture
def copy(full_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one's own to damage."""
    return shutil.copytree(full_bundle, tmp_path / "bundle")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object], *, sign: bool = False) -> None:
    """Change the manifest's content; `sign` makes its checksum right again, as a careful forger would."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    if sign:
        content["checksum"] = Manifest.model_validate(content).content_checksum()
    path.write_text(json.dumps(content))


def test_list_of_files_is_complete(full_bundle: Path) -> None:
    """The tests below damage every file of a bundle."""
    files = sorted(path.relative_to(full_bundle).as_posix() for path in full_bundle.rglob("*") if path.is_file())

    assert files == FILES


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_changed_byte_is_refused_by_name(file: str, place: str, copy: Path) -> None:
    """One byte changed anywhere, in any file, is noticed; the error names the file."""
    path = copy / file
    content = bytearray(path.read_bytes())
    position = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[place]
    content[position] ^= 1
    path.write_bytes(content)

    with pytest.raises(BundleCorruptError, match=rf"^{file}\b"):
        read_bundle(copy)


@pytest.mark.parametrize("file", FILES)
def test_missing_file_is_refused_by_name(file: str, copy: Path) -> None:
    """A file that is not there is named."""
    (copy / file).unlink()

    with pytest.raises(BundleCorruptError, match=rf"\b{file}\b"):
        read_bundle(copy)


def test_file_that_the_manifest_does_not_list_is_refused_by_name(copy: Path) -> None:
    """A stray file beside the encoder's could change what is loaded."""
    (copy / "encoder" / "adapter_config.json").write_text("{}")

    with pytest.raises(BundleCorruptError, match=r"^encoder/adapter_config\.json: the file is not in the manifest$"):
        read_bundle(copy)


def test_one_folder_of_a_bundle_is_verified_by_itself(copy: Path) -> None:
    """Damage outside the folder does not matter; a changed, missing or extra file in it is named."""
    manifest = read_manifest(copy)
    (copy / "index.faiss").unlink()
    (copy / "stray").touch()
    verify_files(copy, manifest, "encoder")

    (copy / "encoder" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BundleCorruptError, match=r"^encoder/model\.safetensors\b"):
        verify_files(copy, manifest, "encoder")
    (copy / "encoder" / "adapter_config.json").touch()
    with pytest.raises(BundleCorruptError, match=r"^encoder/adapter_config\.json: the file is not in the manifest$"):
        verify_files(copy, manifest, "encoder")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("change", ["longer", "shorter", "empty"])
def test_file_of_another_length_is_refused_by_name(file: str, change: str, copy: Path) -> None:
    """A file that was cut off or appended to is named."""
    path = copy / file
    content = path.read_bytes()
    path.write_bytes({"longer": content + b"x", "shorter": content[:-2], "empty": b""}[change])

    with pytest.raises(BundleCorruptError, match=rf"^{file}\b"):
        read_bundle(copy)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(min_value=0), byte=st.integers(0, 255))
def test_manifest_with_any_byte_changed_is_refused_or_says_the_same(copy: Path, position: int, byte: int) -> None:
    """No single byte can change what the manifest says; one that is only white space may differ."""
    path = copy / "manifest.json"
    original = path.read_bytes()
    manifest = read_manifest(copy)
    changed = bytearray(original)
    changed[position % len(changed)] = byte
    path.write_bytes(changed)
    try:
        read = read_manifest(copy)
    except BundleError:
        read = manifest
    path.write_bytes(original)

    assert read == manifest


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 3, 2, 1, 0, -1, "1", None, [1]])
def test_other_format_version_is_refused(version: object, copy: Path) -> None:
    """Another version is its own error, said before anything else is checked."""
    edit_manifest(copy, lambda content: content.clear() or content.update(format_version=version))

    with pytest.raises(BundleVersionError, match=r"^manifest\.json: format_version is .*, this program reads 4$"):
        read_bundle(copy)


@pytest.mark.parametrize("text", ["", "{", "not JSON", '{"format_version": 1', "\x00"])
def test_manifest_that_is_no_json_is_refused(text: str, copy: Path) -> None:
    """A half-written manifest is corrupt."""
    (copy / "manifest.json").write_text(text)

    with pytest.raises(BundleCorruptError, match=r"^manifest\.json is not JSON: "):
        read_bundle(copy)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"manifest"'])
def test_manifest_that_is_no_object_is_refused(text: str, copy: Path) -> None:
    """JSON of another kind has no format version."""
    (copy / "manifest.json").write_text(text)

    with pytest.raises(BundleVersionError, match="format_version is None"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("change", "location"),
    [
        (lambda content: content.update(extra=1), "extra"),
        (lambda content: content.pop("dim"), "dim"),
        (lambda content: content["encoder"].update(pooling="max"), "encoder.pooling"),
        (lambda content: content["encoder"].update(device="cuda"), "encoder.device"),
        (lambda content: content["sequence_model"].update(dim="wide"), "sequence_model.dim"),
        (lambda content: content["files"].update(x={"sha256": "0"}), "files.x.bytes"),
        (lambda content: content.update(scoring="euclidean"), "scoring"),
        (lambda content: content["semantic_term"].update(gamma=0), "semantic_term.gamma"),
        (lambda content: content["semantic_term"].update(history=0), "semantic_term.history"),
        (lambda content: content["semantic_term"].update(decay=1.5), "semantic_term.decay"),
        (lambda content: content["semantic_term"].update(delta=-1), "semantic_term.delta"),
        (lambda content: content["semantic_term"].update(delta=0), "semantic_term"),
        (lambda content: content["selection"][0].update(chosen=None), "selection.0.chosen.int"),
        (lambda content: content["selection"][0]["trials"][0].pop("score"), "selection.0.trials.0.score"),
    ],
)
def test_manifest_of_another_shape_is_refused_by_its_key(
    change: Callable[[dict[str, Any]], object], location: str, copy: Path
) -> None:
    """A key that is unknown, missing or impossible is named."""
    edit_manifest(copy, change)

    with pytest.raises(BundleCorruptError, match=rf"^manifest\.json: {location}: "):
        read_bundle(copy)


@pytest.mark.parametrize("key", ["seed", "num_items", "id", "metrics", "provenance"])
def test_changed_value_is_refused(key: str, copy: Path) -> None:
    """Even what takes no part in the id cannot be changed unnoticed."""
    values = {"seed": 5, "num_items": 41, "id": "0" * 16, "metrics": []}
    provenance = {"created_at": "never", "versions": {}, "config": {}}
    edit_manifest(copy, lambda content: content.update({key: values.get(key, provenance)}))

    with pytest.raises(BundleCorruptError, match="checksum"):
        read_bundle(copy)


def test_forged_hash_does_not_hide_a_missing_file(copy: Path) -> None:
    """A manifest that lists a file that never was is refused by that file's name."""
    edit_manifest(copy, lambda content: content["files"].update(ghost={"sha256": "0", "bytes": 1}), sign=True)

    with pytest.raises(BundleCorruptError, match=r"^ghost: the file is missing$"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(dim=15), r"^projection\.safetensors: it holds .*, but the manifest says "),
        (
            lambda content: content["semantic_term"].update(components=5),
            r"^semantic_term\.safetensors: it holds .*, but the manifest says {'weight': \(32, 5\), 'bias': \(5,\), ",
        ),
        (
            lambda content: content.update(semantic_term=None),
            r"^item_embeddings\.safetensors: it holds .*'profile': \(40, 6\).*, but the manifest says ",
        ),
        (lambda content: content.update(has_residual=False), r"^item_embeddings\.safetensors: it holds .*'residual'"),
        (lambda content: content.update(num_items=41), r"^item_embeddings\.safetensors: .*'semantic': \(41, 16\)"),
    ],
)
def test_file_that_holds_something_else_than_the_manifest_says_is_refused_by_name(
    change: Callable[[dict[str, Any]], object], message: str, copy: Path
) -> None:
    """Every hash is right, and yet the parts do not fit each other."""
    edit_manifest(copy, change, sign=True)

    with pytest.raises(BundleCorruptError, match=message):
        read_bundle(copy)


def test_sequence_model_that_no_package_brings_is_named(copy: Path) -> None:
    """A bundle of a user's own model, read where its package is not installed."""
    edit_manifest(copy, lambda content: content["sequence_model"].update(name="caser"), sign=True)

    with pytest.raises(ConfigError, match=r"^the sequence model 'caser' is not known; there are sasrec, "):
        read_bundle(copy)


def test_semantic_term_without_its_file_is_refused_by_name(copy: Path) -> None:
    """The manifest has a semantic term and lists no file of it."""
    (copy / "semantic_term.safetensors").unlink()
    edit_manifest(copy, lambda content: content["files"].pop("semantic_term.safetensors"), sign=True)

    with pytest.raises(BundleCorruptError, match=r"^semantic_term\.safetensors: the file is missing"):
        read_bundle(copy)


def test_index_of_other_vectors_is_refused_by_name(copy: Path, tiny_bundle: Path) -> None:
    """The index of a bundle without a semantic term holds narrower vectors, whatever its hash."""
    content = shutil.copy(tiny_bundle / "index.faiss", copy / "index.faiss").read_bytes()
    info = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(copy, lambda content: content["files"].update({"index.faiss": info}), sign=True)

    with pytest.raises(
        BundleCorruptError,
        match=r"^index\.faiss: it holds 40 vectors of width 16, but the manifest says 40 of 22$",
    ):
        read_bundle(copy)


@pytest.mark.parametrize("kind", ["missing", "empty folder", "file"])
def test_place_that_is_no_bundle_is_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    """A path to nothing, to an empty folder or to a file is no bundle."""
    place = tmp_path / "place"
    if kind == "empty folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("")

    with pytest.raises(BundleCorruptError, match=rf"^{place} is no bundle: it has no manifest\.json$"):
        read_bundle(place)


def test_bundle_with_the_linear_map_of_an_older_version_is_read(copy: Path) -> None:
    """It has no stored positions, so they are computed by PCA; its own map is not read."""
    (copy / "map_positions.safetensors").unlink()
    old = copy / "item_map.safetensors"
    save_arrays({"weight": np.zeros((TINY_DIM, 2), np.float32), "bias": np.zeros(2, np.float32)}, old)

    def describe(content: dict[str, Any]) -> None:
        content["files"].pop("map_positions.safetensors")
        content["files"][old.name] = {"sha256": sha256_of_file(old), "bytes": old.stat().st_size}

    edit_manifest(copy, describe, sign=True)
    bundle = read_bundle(copy)

    assert bundle.stored_positions is None
    np.testing.assert_array_equal(bundle.map_positions, pca_positions(bundle.item_embeddings))
