"""`evaluate` on a catalogue of a million made-up items: its memory is the tables' and a bounded rest."""

import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from llmemb_training.config import EvaluateConfig
from llmemb_training.evaluation.figures import read_figures
from llmemb_training.steps import evaluate
from tests.support.catalogue import REPOSITORY
from tests.support.evaluated import RAT, RAW_WIDTH, write_inputs

ITEMS, USERS = 1_000_000, 300
TABLES_BYTES = ITEMS * 4 * (4 * RAT.model.dim + RAW_WIDTH)
"""Of four recommenders and the raw embeddings, which are there throughout."""
REST_BYTES = 5 * 2**28
"""Python and its libraries, item ids, scores of a chunk and what is made of them. Scores of 256 users alone would be
1 GB, before any rank is counted."""


def main(folder: Path) -> None:
    """Make the inputs and evaluate; write the peak of this process, in bytes."""
    folders, raw = write_inputs(folder, num_items=ITEMS, num_cold=ITEMS // 20, num_users=USERS)
    output = folder / "evaluate"
    output.mkdir()
    evaluate.run(EvaluateConfig(), RAT, 0, folders, raw, output)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (folder / "peak").write_text(str(peak), encoding="utf-8")


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_catalogue(tmp_path: Path) -> None:
    """The peak of a process of its own, with every model and both protocols."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.test_evaluate_memory", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = int((tmp_path / "peak").read_text())
    predictions = pl.read_parquet(tmp_path / "evaluate" / "predictions.parquet")
    models = {figure.model for figure in read_figures(tmp_path / "evaluate").figures}

    assert peak < TABLES_BYTES + REST_BYTES, f"{peak / 2**20:.0f} MiB"
    assert models == {"llmemb", "vanilla", "vanilla_bce", "llm_init", "item_knn", "semantic_knn", "popular"}
    assert predictions["rank_full"].max() == ITEMS


if __name__ == "__main__":
    main(Path(sys.argv[1]))
