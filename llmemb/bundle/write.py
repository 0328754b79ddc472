"""Writing of bundles: into a temporary folder, which is synced to disk and then renamed."""

import shutil
from pathlib import Path

import polars as pl
from safetensors.torch import save_file as save_tensors

from llmemb.bundle.bundle import ENCODER_FOLDER, MAP_POSITIONS_FILE, SEMANTIC_TERM_FILE, BundleItems
from llmemb.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    EncoderInfo,
    FileInfo,
    Manifest,
    Metric,
    PromptInfo,
    Provenance,
    Selection,
    SemanticTermInfo,
)
from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import BundleError
from llmemb.files import new_folder, save_arrays, sha256_of_file
from llmemb.index import Array, IndexSpec, ItemIndex, tuned
from llmemb.item_map import AXES
from llmemb.scoring.item_space import Scoring, compose, join
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray
from llmemb.sequence_models import SequenceModel


def write_bundle(
    target: Path,
    *,
    prompt: PromptSpec,
    encoder_folder: Path,
    encoder: EncoderInfo,
    projection: Projection,
    sequence_model: SequenceModel,
    items: BundleItems,
    semantic: Array,
    residual: Array | None,
    scoring: Scoring,
    semantic_term: SemanticTerm | None,
    profile: Array | None,
    successors: SuccessorArray | None,
    metrics: tuple[Metric, ...],
    selection: tuple[Selection, ...],
    seed: int,
    provenance: Provenance,
    index: IndexSpec | None = None,
    recall_queries: Array | None = None,
    categories_attribute: str | None = None,
    map_positions: Array | None = None,
) -> Manifest:
    """Write the bundle `target`, atomically replacing an existing one.

    Args:
        target: the bundle's folder.
        prompt: how items become prompts.
        encoder_folder: written by `Encoder.save`; it is copied.
        encoder: describes the encoder in that folder.
        projection: `(h, d)`.
        sequence_model: of width d.
        items: the N items of the catalogue.
        semantic: their projected embeddings, `(N, d)`.
        residual: their collaborative residuals, `(N, d)`, or None.
        scoring: how item embeddings are computed from the two.
        semantic_term: None if the scores have no such term.
        profile: the items' semantic profile vectors `(N, q)`, None without a semantic term.
        successors: the items' successor vectors `(N, q)`, None if the term has no delta.
        metrics: the evaluation's figures.
        selection: what was chosen on validation.
        seed: the configuration's seed.
        provenance: when, with which versions and from which configuration the bundle was made.
        index: the index to build, for example from `llmemb.index.choose_spec`; None: flat.
        recall_queries: session vectors `(B, D)` with which the index is tuned and its recall measured; without them the
            index is built as specified, with the recall stated in `index`.
        categories_attribute: the attribute whose values are an item's categories; None: items have no categories.
        map_positions: the items' positions on the map of the catalogue, `(N, 2)`; None: readers compute them by PCA.

    Returns:
        The manifest that was written.

    Raises:
        BundleError: the parts do not fit each other.
    """
    _check_shapes(encoder, projection, sequence_model, items, semantic, residual)
    _check_categories(categories_attribute, prompt)
    _check_semantic_term(semantic_term, profile, encoder.width, len(items.ids))
    _check_successors(semantic_term, successors, len(items.ids))
    _check_map_positions(map_positions, len(items.ids))
    with new_folder(target) as folder:
        shutil.copytree(encoder_folder, folder / ENCODER_FOLDER)
        save_arrays(projection.arrays(), folder / "projection.safetensors")
        if semantic_term is not None:
            save_arrays(semantic_term.arrays(), folder / SEMANTIC_TERM_FILE)
        save_tensors(sequence_model.state_dict(), folder / "sequence_model.safetensors")
        pl.DataFrame(
            {"id": items.ids, "attributes": items.attributes_json, "popularity": items.popularity}
        ).write_parquet(folder / "items.parquet")
        tables = {"semantic": semantic, "residual": residual, "profile": profile, "successors": successors}
        save_arrays(
            {name: table for name, table in tables.items() if table is not None},
            folder / "item_embeddings.safetensors",
        )
        embeddings = compose(semantic, residual, scoring)
        if map_positions is not None:
            save_arrays({"positions": map_positions}, folder / MAP_POSITIONS_FILE)
        built = _build_index(join(embeddings, profile), index, recall_queries)
        built.write(folder / "index.faiss")

        manifest = Manifest(
            format_version=FORMAT_VERSION,
            id="",
            seed=seed,
            prompt=PromptInfo(
                domain=prompt.domain,
                attribute_names=prompt.attribute_names,
                max_value_characters=prompt.max_value_characters,
                instruction=prompt.instruction,
            ),
            encoder=encoder,
            sequence_model=sequence_model.spec,
            num_items=len(items.ids),
            dim=projection.dim,
            has_residual=residual is not None,
            scoring=scoring,
            semantic_term=None if semantic_term is None else SemanticTermInfo.of(semantic_term),
            index=built.spec,
            categories_attribute=categories_attribute,
            metrics=metrics,
            selection=selection,
            files=_describe_files(folder),
            provenance=provenance,
            checksum="",
        )
        manifest = manifest.model_copy(update={"id": manifest.content_id()})
        manifest = manifest.model_copy(update={"checksum": manifest.content_checksum()})
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _build_index(vectors: Array, spec: IndexSpec | None, queries: Array | None) -> ItemIndex:
    index = ItemIndex.build(vectors, spec)
    return index if queries is None else tuned(index, vectors, queries)


def _check_categories(attribute: str | None, prompt: PromptSpec) -> None:
    if attribute is not None and attribute not in prompt.attribute_names:
        raise BundleError(f"categories_attribute is {attribute!r}, which is none of the items' attributes")


def _check_shapes(
    encoder: EncoderInfo,
    projection: Projection,
    model: SequenceModel,
    items: BundleItems,
    semantic: Array,
    residual: Array | None,
) -> None:
    columns = (len(items.ids), len(items.attributes_json), len(items.popularity))
    if len(set(columns)) > 1:
        raise BundleError("items has {} ids, {} attributes and {} popularities".format(*columns))
    expected = (len(items.ids), projection.dim)
    for name, table in (("semantic", semantic), ("residual", residual)):
        if table is not None and table.shape != expected:
            raise BundleError(f"{name} has the shape {table.shape}, but items and projection make {expected}")
    if encoder.width != len(projection.weight):
        raise BundleError(f"the encoder has width {encoder.width}, the projection reads {len(projection.weight)}")
    if model.spec.dim != projection.dim:
        raise BundleError(f"the sequence model has width {model.spec.dim}, the projection {projection.dim}")


def _check_semantic_term(term: SemanticTerm | None, profile: Array | None, width: int, num_items: int) -> None:
    if term is None and profile is None:
        return
    if term is None or profile is None:
        missing = "semantic_term" if term is None else "profile"
        raise BundleError(f"{missing} is None: a semantic term and the items' profile vectors come together")
    if profile.shape != (num_items, term.components):
        raise BundleError(
            f"profile has the shape {profile.shape}, but items and semantic term make {(num_items, term.components)}"
        )
    if len(term.reduction.weight) != width:
        raise BundleError(f"the encoder has width {width}, the semantic term reads {len(term.reduction.weight)}")


def _check_successors(term: SemanticTerm | None, successors: SuccessorArray | None, num_items: int) -> None:
    if successors is None:
        if term is not None and term.delta:
            raise BundleError(f"delta is {term.delta:g}, but successors is None")
        return
    if term is None or not term.delta:
        raise BundleError("there are successors, but no semantic term with a delta reads them")
    if successors.shape != (num_items, term.components):
        raise BundleError(
            f"successors has the shape {successors.shape}, but items and semantic term make "
            f"{(num_items, term.components)}"
        )


def _check_map_positions(positions: Array | None, num_items: int) -> None:
    if positions is not None and positions.shape != (num_items, AXES):
        raise BundleError(f"map_positions has the shape {positions.shape}, but the items make {(num_items, AXES)}")


def _describe_files(folder: Path) -> dict[str, FileInfo]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): FileInfo(sha256=sha256_of_file(path), bytes=path.stat().st_size)
        for path in files
    }
