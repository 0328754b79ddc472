"""`bundle`: write everything that serving needs to one folder."""

from datetime import UTC, datetime
from pathlib import Path

from llmemb.bundle import EncoderInfo, Metric, Provenance, write_bundle
from llmemb.encoder.encoder import Encoder
from llmemb.errors import BundleError
from llmemb.index import Array, choose_spec
from llmemb.scoring.session import session_vectors
from llmemb_training.config import Config, dump_config
from llmemb_training.data.dataset import Dataset, categories_attribute, read_dataset
from llmemb_training.evaluation.figures import read_figures
from llmemb_training.rat.recommenders import TrainedRecommender, read_recommender
from llmemb_training.rat.selection import read_selections
from llmemb_training.runs.versions import library_versions

_RECALL_QUERIES = 1000
"""Maximum number of histories for measuring the recall of the index."""


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
