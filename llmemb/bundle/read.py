"""Reading of bundles: read the manifest, verify the hash of every file, then load the parts."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from llmemb.bundle.bundle import MAP_POSITIONS_FILE, SEMANTIC_TERM_FILE, Bundle, BundleItems
from llmemb.bundle.manifest import FORMAT_VERSION, MANIFEST_FILE, Manifest
from llmemb.errors import BundleCorruptError, BundleVersionError
from llmemb.files import sha256_of_file
from llmemb.index import ItemIndex
from llmemb.item_map import AXES
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray
from llmemb.sequence_models import build_sequence_model

Array = NDArray[np.float32]


def read_bundle(folder: Path) -> Bundle:
    """Verify a bundle and load everything except the encoder.

    Raises:
        BundleVersionError: the bundle has another format version, or its sequence model another shape.
        BundleCorruptError: a file is missing, changed, not in the manifest, or contradicts the manifest; the message
            names it. Or the bundle was replaced while it was read.
        ConfigError: no installed package provides its sequence model.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    projection = _read_affine(folder / "projection.safetensors", (manifest.encoder.width, manifest.dim))
    semantic_term = _read_semantic_term(folder, manifest)
    tables = _read_tables(folder / "item_embeddings.safetensors", manifest)
    model = build_sequence_model(manifest.sequence_model)
    try:
        model.load_state_dict(load_tensors(folder / "sequence_model.safetensors"))
    except RuntimeError as error:
        raise BundleVersionError(
            f"sequence_model.safetensors: its weights are not those of this program's {manifest.sequence_model.name}"
        ) from error
    frame = pl.read_parquet(folder / "items.parquet")
    bundle = Bundle(
        folder=folder,
        manifest=manifest,
        projection=projection,
        sequence_model=model.eval(),
        semantic_term=semantic_term,
        items=BundleItems(
            ids=tuple(frame["id"].to_list()),
            attributes_json=tuple(frame["attributes"].to_list()),
            popularity=frame["popularity"].to_numpy(),
        ),
        semantic=tables["semantic"],
        residual=tables.get("residual"),
        profile=tables.get("profile"),
        successors=_successors(tables.get("successors")),
        index=ItemIndex.read(folder / "index.faiss", manifest.index),
        stored_positions=_read_map_positions(folder, manifest),
    )
    if (len(bundle.index), bundle.index.dim) != (manifest.num_items, bundle.space.width):
        raise BundleCorruptError(
            f"index.faiss: it holds {len(bundle.index)} vectors of width {bundle.index.dim}, "
            f"but the manifest says {manifest.num_items} of {bundle.space.width}"
        )
    # The files were loaded after they were verified: a bundle that was renamed to this folder in between would be
    # loaded with the id of the previous one.
    if read_manifest(folder).checksum != manifest.checksum:
        raise BundleCorruptError(f"{folder} was replaced while it was read: read it again")
    return bundle


def _read_affine(path: Path, shape: tuple[int, int]) -> Projection:
    return Projection(**_read_arrays(path, {"weight": shape, "bias": shape[1:]}))


def _read_semantic_term(folder: Path, manifest: Manifest) -> SemanticTerm | None:
    info = manifest.semantic_term
    if info is None:
        return None
    if SEMANTIC_TERM_FILE not in manifest.files:
        raise BundleCorruptError(f"{SEMANTIC_TERM_FILE}: the file is missing, and the manifest has a semantic term")
    width, components = manifest.encoder.width, info.components
    shapes: dict[str, tuple[int, ...]] = {"weight": (width, components), "bias": (components,)}
    if info.text_map:
        shapes["text_map"] = (components, components)
    arrays = _read_arrays(folder / SEMANTIC_TERM_FILE, shapes)
    text_map = arrays.pop("text_map", None)
    return SemanticTerm(Projection(**arrays), info.gamma, info.history, info.decay, info.delta, text_map)


def _read_map_positions(folder: Path, manifest: Manifest) -> Array | None:
    """Read the positions `(N, 2)`; return None for a bundle without them, such as one with an `item_map` of PCA."""
    if MAP_POSITIONS_FILE not in manifest.files:
        return None
    return _read_arrays(folder / MAP_POSITIONS_FILE, {"positions": (manifest.num_items, AXES)})["positions"]


def _read_tables(path: Path, manifest: Manifest) -> dict[str, Array]:
    shapes = {"semantic": (manifest.num_items, manifest.dim)}
    if manifest.has_residual:
        shapes["residual"] = shapes["semantic"]
    if manifest.semantic_term is not None:
        shapes["profile"] = (manifest.num_items, manifest.semantic_term.components)
        if manifest.semantic_term.delta:
            shapes["successors"] = shapes["profile"]
    return _read_arrays(path, shapes)


def _successors(table: Array | None) -> SuccessorArray | None:
    if table is not None and table.dtype != np.float16:
        raise BundleCorruptError(f"item_embeddings.safetensors: successors are {table.dtype}, and not float16")
    return cast("SuccessorArray | None", table)


def _read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    arrays = load_arrays(path)
    found = {name: array.shape for name, array in arrays.items()}
    if found != shapes:
        raise BundleCorruptError(f"{path.name}: it holds {found}, but the manifest says {dict(shapes)}")
    return arrays


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest alone.

    Raises:
        BundleVersionError: the bundle has another format version.
        BundleCorruptError: there is no manifest, or it was changed.
    """
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleCorruptError(f"{folder} is no bundle: it has no {MANIFEST_FILE}") from error
    except ValueError as error:
        raise BundleCorruptError(f"{MANIFEST_FILE} is not JSON: {error}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise BundleVersionError(f"{MANIFEST_FILE}: format_version is {version!r}, this program reads {FORMAT_VERSION}")
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        location = ".".join(map(str, fault["loc"]))
        raise BundleCorruptError(f"{MANIFEST_FILE}: {location}: {fault['msg']}") from error
    if manifest.checksum != manifest.content_checksum():
        raise BundleCorruptError(f"{MANIFEST_FILE}: the file was changed: its checksum is another content's")
    return manifest


def verify_files(folder: Path, manifest: Manifest, part: str = "") -> None:
    """Verify files: compare their sizes and hashes with the manifest.

    Args:
        folder: of the bundle.
        manifest: of the bundle.
        part: only verify the files in this folder of the bundle; empty: verify all files.

    Raises:
        BundleCorruptError: a file is missing, changed or not in the manifest; the message names it.
    """
    # An additional file can change what is loaded: an `adapter_config.json` in `encoder/` would add other weights.
    for path in sorted((folder / part).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in manifest.files and name != MANIFEST_FILE:
            raise BundleCorruptError(f"{name}: the file is not in the manifest")
    for name, expected in manifest.files.items():
        if not PurePosixPath(name).is_relative_to(part):
            continue
        path = folder / name
        if not path.is_file():
            raise BundleCorruptError(f"{name}: the file is missing")
        size = path.stat().st_size
        if size != expected.bytes:
            raise BundleCorruptError(f"{name}: the file has {size} bytes, the manifest says {expected.bytes}")
        if sha256_of_file(path) != expected.sha256:
            raise BundleCorruptError(f"{name}: the file was changed: its hash is not the manifest's")
