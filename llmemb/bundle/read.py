"""Reading of bundles: read the manifest, verify the hash of every file, then load the parts."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from llmemb.bundle.bundle import MAP_POSITIONS_FILE, SEMANTIC_TERM_FILE, Bundle, BundleItems
from llmemb.bundle.manifest import FORMAT_VERSION, MANIFEST_FILE, FileInfo, Manifest
from llmemb.errors import BundleCorruptError, BundleVersionError
from llmemb.files import sha256_of_file
from llmemb.index import ItemIndex
from llmemb.item_map import AXES
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray
from llmemb.sequence_models import build_sequence_model

Array = NDArray[np.float32]
logger = logging.getLogger(__name__)
_LEFTOVER_FILES = (
    ".DS_Store", "._*", ".localized", "Thumbs.db", "desktop.ini", "*:Zone.Identifier", ".directory", ".nfs*",
    ".gitattributes",
)  # fmt: skip
_LEFTOVER_FOLDERS = ("__MACOSX", ".cache", ".git", "@eaDir", "lost+found", ".Trash-*")
"""Of macOS, Windows, Linux, network storage, git and Hugging Face's download; no library loads anything from them."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_IS_POINTER = ": it is a pointer of Git LFS; fetch the file itself with git lfs pull"


def read_bundle(folder: Path) -> Bundle:
    """Verify a bundle and load everything except the encoder.

    Raises:
        BundleVersionError: the bundle has another format version, or its sequence model another shape.
        BundleCorruptError: a file is missing, changed, not in the manifest, or contradicts the manifest; the message
            names it. Or the bundle was replaced while it was read.
        ConfigError: no installed package provides its sequence model.
    """
    manifest = read_manifest(folder)
    if leftovers := verify_files(folder, manifest):
        logger.warning("%s: ignored files that are not in the manifest: %s", folder, ", ".join(leftovers))
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
        BundleCorruptError: there is no manifest, it cannot be read, or it was changed.
    """
    path = folder / MANIFEST_FILE
    _check_link(path, MANIFEST_FILE)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleCorruptError(f"{folder} is no bundle: it has no {MANIFEST_FILE}") from error
    except OSError as error:
        raise BundleCorruptError(f"{MANIFEST_FILE}: the file cannot be read: {error.strerror}") from error
    except ValueError as error:
        reason = _IS_POINTER if path.read_bytes().startswith(_LFS_POINTER) else f": {error}"
        raise BundleCorruptError(f"{MANIFEST_FILE} is not JSON{reason}") from error
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


def verify_files(folder: Path, manifest: Manifest, part: str = "") -> list[str]:
    """Verify files: compare their sizes and hashes with the manifest.

    Symbolic links to files and folders are followed.

    Args:
        folder: of the bundle.
        manifest: of the bundle.
        part: only verify the files in this folder of the bundle; empty: verify all files.

    Returns:
        The files and folders that operating systems and tools for copying have left, such as `.DS_Store`. They are not
        in the manifest, and are ignored.

    Raises:
        BundleCorruptError: a file is missing, changed, unreadable or not in the manifest; the message names it.
    """
    leftovers: list[str] = []
    # An additional file can change what is loaded: an `adapter_config.json` in `encoder/` would add other weights.
    for name in _walk(folder, part, leftovers):
        if name not in manifest.files and name != MANIFEST_FILE:
            raise BundleCorruptError(f"{name}: the file is not in the manifest")
    for name, expected in manifest.files.items():
        if PurePosixPath(name).is_relative_to(part):
            try:
                _verify_file(folder / name, name, expected)
            except OSError as error:
                raise BundleCorruptError(f"{name}: the file cannot be read: {error.strerror}") from error
    return leftovers


def _walk(folder: Path, part: str, leftovers: list[str]) -> Iterator[str]:
    """Yield the names of all files except leftovers, whose names are added to the list."""
    for place, folders, files in os.walk(folder / part, followlinks=True):
        inside = PurePosixPath(Path(place).relative_to(folder).as_posix())
        left = [name for name in folders if _is_like(name, _LEFTOVER_FOLDERS)]
        # os.walk descends into those that remain in the list.
        folders[:] = sorted(set(folders) - set(left))
        for name in sorted(files):
            if _is_like(name, _LEFTOVER_FILES):
                left.append(name)
            else:
                yield str(inside / name)
        leftovers.extend(str(inside / name) for name in left)


def _is_like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_link(path: Path, name: str) -> None:
    if path.is_symlink() and not path.exists():
        raise BundleCorruptError(
            f"{name}: the file is missing: a symbolic link leads to {path.readlink()}; "
            "copy the bundle with its links followed, as cp -rL does"
        )


def _verify_file(path: Path, name: str, expected: FileInfo) -> None:
    _check_link(path, name)
    if not path.is_file():
        raise BundleCorruptError(f"{name}: the file is missing")
    size = path.stat().st_size
    if size != expected.bytes:
        raise BundleCorruptError(
            f"{name}: the file has {size} bytes, the manifest says {expected.bytes}{_reason(path, expected)}"
        )
    if sha256_of_file(path) != expected.sha256:
        raise BundleCorruptError(f"{name}: the file was changed: its hash is not the manifest's")


def _reason(path: Path, expected: FileInfo) -> str:
    """Return why a file has another size, where that can be known."""
    unix = hashlib.sha256()
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return _IS_POINTER
        file.seek(0)
        for line in file:
            unix.update(line.removesuffix(b"\r\n") + b"\n" if line.endswith(b"\r\n") else line)
    if unix.hexdigest() == expected.sha256:
        return (
            ": its line ends were changed from LF to CRLF; copy the bundle as binary files, in git with "
            "`* -text` in .gitattributes"
        )
    return ""
