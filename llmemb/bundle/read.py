"""Read a bundle: the manifest first, then every file against its hash, then the parts."""

import json
from pathlib import Path

import polars as pl
from pydantic import ValidationError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from llmemb.bundle.bundle import Bundle, BundleItems
from llmemb.bundle.manifest import FORMAT_VERSION, MANIFEST_FILE, Manifest
from llmemb.errors import BundleCorruptError, BundleVersionError
from llmemb.files import sha256_of_file
from llmemb.index import ItemIndex
from llmemb.projection import Projection
from llmemb.sequence_models import build_sequence_model


def read_bundle(folder: Path) -> Bundle:
    """Verify a bundle and load all of it but the encoder's weights.

    Raises:
        BundleVersionError: the bundle has another format version, or its sequence model another shape.
        BundleCorruptError: a file is missing, changed or not in the manifest; the message names it.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    arrays = load_arrays(folder / "projection.safetensors")
    tables = load_arrays(folder / "item_embeddings.safetensors")
    model = build_sequence_model(manifest.sequence_model)
    try:
        model.load_state_dict(load_tensors(folder / "sequence_model.safetensors"))
    except RuntimeError as error:
        raise BundleVersionError(
            f"sequence_model.safetensors: its weights are not those of this program's {manifest.sequence_model.name}"
        ) from error
    frame = pl.read_parquet(folder / "items.parquet")
    return Bundle(
        folder=folder,
        manifest=manifest,
        projection=Projection(weight=arrays["weight"], bias=arrays["bias"]),
        sequence_model=model.eval(),
        items=BundleItems(
            ids=tuple(frame["id"].to_list()),
            attributes_json=tuple(frame["attributes"].to_list()),
            popularity=frame["popularity"].to_numpy(),
        ),
        semantic=tables["semantic"],
        residual=tables.get("residual"),
        index=ItemIndex.read(folder / "index.faiss"),
    )


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


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Hold every file against the manifest.

    Raises:
        BundleCorruptError: a file is missing, changed or not in the manifest; the message names it.
    """
    # A stray file can change what is loaded: an `adapter_config.json` in `encoder/` would bring other weights.
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in manifest.files and name != MANIFEST_FILE:
            raise BundleCorruptError(f"{name}: the file is not in the manifest")
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleCorruptError(f"{name}: the file is missing")
        size = path.stat().st_size
        if size != expected.bytes:
            raise BundleCorruptError(f"{name}: the file has {size} bytes, the manifest says {expected.bytes}")
        if sha256_of_file(path) != expected.sha256:
            raise BundleCorruptError(f"{name}: the file was changed: its hash is not the manifest's")
