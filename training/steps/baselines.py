"""`baselines`, the first half of the verb `evaluate`: the baselines that cost training.

vanilla_bce/, vanilla_softmax/  the vanilla recommender with the loss that the configuration did not choose
llm_init/                       a vanilla recommender whose item table starts from the LLM's embeddings
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.projection import fit_reduction
from training.config import RatConfig
from training.config.seeds import derive_generator
from training.data.dataset import read_dataset
from training.evaluation.baselines import LLM_INIT, other_vanilla
from training.rat.id_recommender import train_on_ids

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
    initial = initial_table(raw, dataset.num_warm, config.model.dim, seed)
    lines = []
    for baseline, its_config, its_initial in ((name, changed, None), (LLM_INIT, config, initial)):
        folder = output / baseline
        folder.mkdir(parents=True, exist_ok=True)
        progress = train_on_ids(baseline, its_config, seed, dataset, folder, logs / baseline, its_initial)
        lines.append(f"{baseline} {progress}{progress.warning(config.patience)}")
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
