"""`baselines`, the first step of the verb `evaluate`: train the trainable baselines.

vanilla_bce/, vanilla_softmax/  the vanilla recommender with the other loss
llm_init/                       a vanilla recommender whose item table is initialised from the LLM's embeddings
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.projection import fit_reduction
from llmemb_training.config import RatConfig
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import read_dataset
from llmemb_training.evaluation.baselines import LLM_INIT, other_vanilla
from llmemb_training.rat.id_recommender import train_on_ids

Array = NDArray[np.float32]
INITIAL_DEVIATION = 0.02
"""Standard deviation of the coordinates of an initial item table, random or from the LLM."""


def run(config: RatConfig, seed: int, dataset_folder: Path, raw: Array, output: Path, logs: Path) -> str:
    """Train and write each baseline that is not trained yet; return the summary line.

    Args:
        config: the section `rat`, with the options of the vanilla recommender.
        seed: the seed in the configuration.
        dataset_folder: output of `prepare`.
        raw: raw embeddings `(N, h)` from `embed`.
        output: the step's folder, with a subfolder for each baseline.
        logs: folder for the TensorBoard logs, with a subfolder for each baseline.
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
    """Return the initial table of LLMInit, `(N, d)`: the principal components of the raw embeddings `(N, h)`.

    They are scaled to the mean variance of a random table. If there are fewer than d components, the other columns are
    random. The components are fitted on warm items only.

    Source: Harte et al. 2023, "Leveraging large language models for sequential recommendation", LLM2BERT4Rec.
    """
    table = derive_generator(seed, LLM_INIT, "table").normal(size=(len(raw), dim))
    components = min(dim, num_warm - 1, raw.shape[1])
    table[:, :components] = fit_reduction(raw[:num_warm], components, "pca").apply(raw)
    return np.asarray(table * INITIAL_DEVIATION, dtype=np.float32)
