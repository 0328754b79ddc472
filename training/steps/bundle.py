"""`bundle`: all that serving needs, in one folder."""

from datetime import UTC, datetime
from pathlib import Path

from llmemb.bundle import EncoderInfo, Metric, Provenance, write_bundle
from llmemb.encoder import Encoder
from llmemb.errors import BundleError
from training.config import Config, dump_config
from training.dataset import read_dataset
from training.figures import read_figures
from training.recommenders import read_recommender
from training.selection import read_selections
from training.versions import library_versions


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
    )
    size = sum(file.bytes for file in manifest.files.values())
    return f"{manifest.id} in {target}: {manifest.num_items:,} items, {manifest.dim} wide, {size / 2**20:.0f} MiB"
