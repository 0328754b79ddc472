"""`baselines`, the first half of the verb `evaluate`: the baselines that cost training.

vanilla_bce/, vanilla_softmax/  the vanilla recommender with the loss that the configuration did not choose
llm_init/                       a vanilla recommender whose item table starts from the LLM's embeddings
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb.projection import fit_reduction
from llmemb.sequence_models import build_sequence_model
from training.baselines import LLM_INIT, other_vanilla
from training.config import RatConfig
from training.dataset import Dataset, read_dataset
from training.fitting import Recommender, fit
from training.item_tables import IdTable
from training.recommenders import TrainedRecommender, write_recommender
from training.seeds import derive_generator, derive_seed

Array = NDArray[np.float32]
INITIAL_DEVIATION = 0.02
"""Of the coordinates of a table that starts at random, and so of one that starts from the LLM's."""


def run(config: RatConfig, seed: int, dataset_folder: Path, raw: Array, output: Path, logs: Path) -> str:
    """Train each baseline that is not trained yet and write it; return the summary line.

    Args:
        config: the section that the vanilla recommender is trained by.
        seed: the configuration's seed.
        dataset_folder: of `prepare`.
        raw: raw embeddings `(N, h)`, of `embed`.
        output: the step's folder, which gets a folder for each.
        logs: takes the TensorBoard logs, a folder for each.
    """
    dataset = read_dataset(dataset_folder)
    name, loss = other_vanilla(config.loss)
    changed = config.model_copy(update={"loss": loss})
    lines = [_train(name, changed, seed, dataset, None, output, logs)]
    initial = initial_table(raw, dataset.num_warm, config.model.dim, seed)
    lines.append(_train(LLM_INIT, config, seed, dataset, initial, output, logs))
    return "; ".join(lines)


def initial_table(raw: Array, num_warm: int, dim: int, seed: int) -> Array:
    """Return the table that LLMInit starts from, `(N, d)`: the principal components of the raw embeddings `(N, h)`.

    They are scaled to the mean variance of a random start. Where the LLM gives fewer than d components, the rest is
    random. Cold items take no part in the fit.

    Source: Harte et al. 2023, "Leveraging large language models for sequential recommendation", LLM2BERT4Rec.
    """
    table = derive_generator(seed, LLM_INIT, "table").normal(size=(len(raw), dim))
    components = min(dim, num_warm - 1, raw.shape[1])
    table[:, :components] = fit_reduction(raw[:num_warm], components, "pca").apply(raw)
    return np.asarray(table * INITIAL_DEVIATION, dtype=np.float32)


def _train(
    name: str, config: RatConfig, seed: int, dataset: Dataset, initial: Array | None, output: Path, logs: Path
) -> str:
    """Train one, or take it from its checkpoint; return its part of the summary.

    Args:
        name: of the baseline and its folder.
        config: how to train.
        seed: the configuration's seed.
        dataset: what to train on.
        initial: `(N, d)`; the rows of the cold items stay as they are. None starts at random, without cold items.
        output: the step's folder.
        logs: takes the TensorBoard logs.
    """
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    num_warm = dataset.num_warm
    torch.manual_seed(derive_seed(seed, name, "weights"))
    table = IdTable(num_warm, config.model.dim, None if initial is None else initial[:num_warm])
    recommender = Recommender(table, build_sequence_model(config.model))
    recommender.to("cuda" if torch.cuda.is_available() else "cpu")
    progress = fit(
        name,
        recommender,
        dataset.train,
        dataset.validation,
        config,
        seed,
        folder / "checkpoint.safetensors",
        logs / name,
    )
    embeddings = recommender.item_embeddings()
    if initial is not None:
        embeddings = np.concatenate([embeddings, initial[num_warm:]])
    write_recommender(folder, TrainedRecommender(recommender.model.cpu(), embeddings))
    return f"{name} {progress}"
