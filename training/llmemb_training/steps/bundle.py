"""`bundle`: write everything that serving needs to one folder."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from llmemb.bundle import EncoderInfo, Metric, Provenance, write_bundle
from llmemb.encoder.encoder import Encoder
from llmemb.errors import BundleError
from llmemb.index import Array, choose_spec
from llmemb.item_map import AXES, MAX_LAID_OUT, laid_out_rows, pca_positions, place_near_neighbours, scaled_to_unit
from llmemb.scoring.item_space import compose
from llmemb.scoring.projection import unit_length
from llmemb.scoring.session import session_vectors
from llmemb_training.config import Config, dump_config
from llmemb_training.data.dataset import Dataset, categories_attribute, read_dataset
from llmemb_training.evaluation.figures import read_figures
from llmemb_training.rat.recommenders import TrainedRecommender, read_recommender
from llmemb_training.rat.selection import read_selections
from llmemb_training.runs.versions import library_versions

_RECALL_QUERIES = 1000
"""Maximum number of histories for measuring the recall of the index."""
_FEWEST_MAP_ITEMS = 8
"""With fewer items, t-SNE has no neighbourhoods to keep, and the map is that of PCA."""
_PERPLEXITY = 30.0
_ITERATIONS = 500
_START_DEVIATION = 1e-4
"""Standard deviation of the initial positions, as in the library's default."""


def run(
    config: Config,
    dataset_folder: Path,
    select_folder: Path,
    encoder_folder: Path,
    rat_folder: Path,
    evaluate_folder: Path,
    target: Path,
) -> str:
    """Write the bundle `target`; return the summary line.

    Raises:
        BundleError: the recommender has no projection.
        ConfigError: `bundle.categories_attribute` is not one of the attributes.
    """
    dataset = read_dataset(dataset_folder)
    recommender = read_recommender(rat_folder, config.rat.model)
    if recommender.projection is None:
        raise BundleError(f"{rat_folder} has no projection: a vanilla recommender cannot embed new items")
    encoder = Encoder.load(encoder_folder)
    manifest = write_bundle(
        target,
        prompt=dataset.prompt(config.encoder.max_value_characters),
        encoder_folder=encoder_folder,
        encoder=EncoderInfo(
            base=Path(config.encoder.base).name if Path(config.encoder.base).exists() else config.encoder.base,
            depth=encoder.depth,
            width=encoder.width,
            pooling=encoder.pooling,
            max_tokens=encoder.max_tokens,
        ),
        projection=recommender.projection,
        sequence_model=recommender.model,
        items=dataset.bundle_items(),
        semantic=recommender.semantic,
        residual=recommender.residual,
        scoring=recommender.scoring,
        semantic_term=recommender.semantic_term,
        profile=recommender.profile,
        successors=recommender.successors,
        metrics=tuple(
            Metric(model=figure.model, group=figure.group, name=figure.metric, value=figure.value)
            for figure in read_figures(evaluate_folder).figures
            if figure.protocol == "full" and figure.group in ("all", "tail", "head", "cold")
        ),
        selection=read_selections(select_folder) + read_selections(rat_folder),
        seed=config.seed,
        provenance=Provenance(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=library_versions(),
            config=dump_config(config),
        ),
        index=choose_spec(dataset.num_items, config.bundle.index),
        recall_queries=_session_vectors(dataset, recommender),
        categories_attribute=categories_attribute(config.bundle.categories_attribute, dataset.info.attribute_names),
        map_positions=lay_out_items(compose(recommender.semantic, recommender.residual, recommender.scoring)),
    )
    size = sum(file.bytes for file in manifest.files.values())
    return (
        f"{manifest.id} in {target}: {manifest.num_items:,} items, {manifest.dim} wide, {size / 2**20:.0f} MiB; "
        f"index {manifest.index.kind}, recall@10 {manifest.index.recall_at_10:.4f}"
    )


def _session_vectors(dataset: Dataset, recommender: TrainedRecommender) -> Array:
    """Return session vectors of evenly spaced test and validation histories, `(B, D)`."""
    histories = [rows for rows in (*dataset.test.histories, *dataset.validation.histories) if len(rows)]
    vectors = recommender.history_vectors
    chosen = histories[:: max(1, -(-len(histories) // _RECALL_QUERIES))]
    return session_vectors(recommender.model, [vectors[rows] for rows in chosen], recommender.semantic_term)


def lay_out_items(embeddings: Array, max_laid_out: int = MAX_LAID_OUT) -> Array:
    """Position the items of a catalogue by t-SNE, so that items with a high cosine are near each other.

    Deterministic on one machine: t-SNE starts from PCA and has no random part.

    Args:
        embeddings: item embeddings, `(N, d)`.
        max_laid_out: maximum number of items for t-SNE; the others get the median position of their neighbours.

    Returns:
        `(N, 2)`, centred; the outermost item is at a distance of 1 along an axis.

    Source: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE".
    """
    rows = laid_out_rows(len(embeddings), max_laid_out)
    laid_out = unit_length(embeddings[rows])
    start = pca_positions(laid_out)
    if len(rows) < _FEWEST_MAP_ITEMS or not start.any():
        return pca_positions(embeddings)
    tsne = TSNE(
        perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3),
        init=start / start.std() * _START_DEVIATION,
        max_iter=_ITERATIONS,
    )
    # The library's sums depend on the number of threads, and the bundle's id must not.
    with threadpool_limits(1):
        found = tsne.fit_transform(laid_out)
    positions = np.empty((len(embeddings), AXES), dtype=np.float32)
    others = np.ones(len(embeddings), dtype=np.bool_)
    others[rows] = False
    positions[rows] = scaled_to_unit(found - (found.min(axis=0) + found.max(axis=0)) / 2)
    positions[others] = place_near_neighbours(embeddings[others], laid_out, positions[rows])
    return positions
