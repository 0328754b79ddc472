"""Quality of our vanilla SASRec beside RecBole's on the split of a run, both ranked by our evaluation.

    python -m benchmarks.recbole_quality --run runs/beauty [--max-minutes 600] [--max-length 50] ...

Trains RecBole's SASRec (full softmax) on the run's own training histories, in its sizes; this is skipped where it was
done before with the same data and options. Needs the run's `prepare`; with its `evaluate` it writes
`results/recbole_quality_<run>.json` and `.md`, without it prints RecBole's figures.
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.peer_environment import recbole_python
from benchmarks.recbole_files import write_recbole_files
from benchmarks.recbole_options import recbole_options
from benchmarks.results import WORK, compare, make_results, write_results
from benchmarks.worker import worker_environment
from llmemb.files import sha256_of_file
from training.config import Config, RatConfig
from training.dataset import Dataset, Rows, read_dataset
from training.ranking import Array, Ranks, Scorer, full_ranks, hit_rate, ndcg
from training.recommenders import VANILLA

FOLDER = WORK / "recbole_quality"
KS = (10, 20)
TOLERANCE = 2e-4
"""RecBole rounds to four places, and orders equal scores in another way."""


@dataclass(frozen=True, slots=True)
class Trained:
    """RecBole's SASRec after training.

    Args:
        ranks: of the test targets, by our evaluation.
        progress: how the training went, in words.
        versions: of its environment.
    """

    ranks: Ranks
    progress: str
    versions: dict[str, str]


def train_recbole(files: Path, options: dict[str, float | str], max_minutes: float, threads: int) -> Path:
    """Train on the files unless it was done by the same options; return the file of the outcome."""
    texts = [sha256_of_file(path) for path in sorted(files.glob("*.inter"))]
    key = hashlib.sha256(json.dumps([texts, options, max_minutes], sort_keys=True).encode()).hexdigest()[:12]
    output = FOLDER / f"{key}.npz"
    if not output.is_file():
        given = {"data": str(files), "config": options, "output": str(output), "max_minutes": max_minutes}
        asked = output.with_suffix(".json")
        asked.write_text(json.dumps(given, indent=2), encoding="utf-8")
        subprocess.run(
            [str(recbole_python()), "-W", "ignore", "-m", "benchmarks.recbole_worker", "train", str(asked)],
            cwd=FOLDER,
            env=worker_environment(threads),
            check=True,
        )
    return output


def rank(outcome: Path, dataset: Dataset, *, exclude_history: bool) -> Trained:
    """Rank the test targets by RecBole's session vectors and item embeddings, among all items but the cold ones."""
    with np.load(outcome) as arrays:
        sessions, items = arrays["sessions"], arrays["items"]
        epochs, versions = json.loads(str(arrays["progress"])), json.loads(str(arrays["versions"]))
        stopped, minutes, own = str(arrays["stopped"]), float(arrays["seconds"]) / 60, float(arrays["own_ndcg"])
        assert (arrays["targets"] == dataset.test.rows).all(), "not the same test targets"

    def ranks_of(*, exclude_history: bool) -> Ranks:
        scorer = _scorer(sessions, items, dataset.num_items)
        return full_ranks(scorer, dataset.test, dataset.num_items, exclude_history=exclude_history)

    # RecBole leaves nothing out; so ranked, it must come to what its own evaluation says, or the export is wrong.
    plain = float(ndcg(ranks_of(exclude_history=False), 10).mean())
    assert abs(plain - own) < TOLERANCE, f"NDCG@10 {plain:.5f} by our ranking, {own:.5f} by RecBole's"
    best = max(epochs, key=lambda epoch: epoch["ndcg@10"])
    progress = (
        f"stopped by {stopped} after {len(epochs)} epochs and {minutes:.0f} minutes; best epoch {best['epoch']}, "
        f"validation NDCG@10 by RecBole's own evaluation {best['ndcg@10']:.4f}, "
        f"training loss {best['loss']:.3f} there and {epochs[-1]['loss']:.3f} at the end"
    )
    return Trained(ranks_of(exclude_history=exclude_history), progress, versions)


def _scorer(sessions: Array, items: Array, num_items: int) -> Scorer:
    """Score the warm items `(W, d)` by the sessions `(n, d)`, which stand in the order they are asked for."""
    done = 0

    def score(histories: Sequence[Rows]) -> Array:
        nonlocal done
        scores = np.full((len(histories), num_items), -np.inf, dtype=np.float32)
        scores[:, : len(items)] = sessions[done : done + len(histories)] @ items.T
        done += len(histories)
        return scores

    return score


def our_ranks(run: Path, dataset: Dataset) -> Ranks | None:
    """Return the ranks of our vanilla recommender for the same targets, None where the run is not evaluated yet."""
    path = run / "evaluate" / "predictions.parquet"
    if not path.is_file():
        return None
    frame = pl.read_parquet(path).filter(pl.col("model") == VANILLA, pl.col("split") == "test")
    assert frame["user_id"].to_list() == list(dataset.test.user_ids), f"{path}: not the users of the dataset"
    ranks: Ranks = frame["rank_full"].to_numpy().astype(np.int64)
    return ranks


def figures(ranks: Ranks) -> dict[str, float]:
    """Return HR@k and NDCG@k."""
    return {f"HR@{k}": float(hit_rate(ranks, k).mean()) for k in KS} | {
        f"NDCG@{k}": float(ndcg(ranks, k).mean()) for k in KS
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run folder")
    parser.add_argument("--max-length", type=int, help="of RecBole's histories; the run's by default")
    parser.add_argument("--dropout", type=float, help="of RecBole's hidden layers and attention; the run's by default")
    parser.add_argument("--batch-size", type=int, default=512, help="of RecBole, in targets")
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better validation NDCG@10")
    parser.add_argument("--max-minutes", type=float, default=600, help="ends the training after the epoch under way")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    config = Config.model_validate_json((given.run / "config.json").read_text(encoding="utf-8"))
    dataset = read_dataset(given.run / "prepare")
    options = recbole_options(config.rat, given.batch_size) | {
        "epochs": given.epochs,
        "stopping_step": given.patience,
        "seed": config.seed,
    }
    dropout = config.rat.model.dropout if given.dropout is None else given.dropout
    options |= {"hidden_dropout_prob": dropout, "attn_dropout_prob": dropout}
    if given.max_length:
        options["MAX_ITEM_LIST_LENGTH"] = given.max_length
    length = int(options["MAX_ITEM_LIST_LENGTH"])
    files = FOLDER / f"{given.run.resolve().name}-{length}"
    write_recbole_files(dataset, files, length)
    outcome = train_recbole(files, options, given.max_minutes, given.threads)
    peer = rank(outcome, dataset, exclude_history=config.evaluate.exclude_history)
    print(f"RecBole: {figures(peer.ranks)}; {peer.progress}")
    ours = our_ranks(given.run, dataset)
    if ours is not None:
        _write(given.run.resolve().name, config.rat, options, figures(ours), figures(peer.ranks), peer, len(ours))


def _write(
    run: str,
    rat: RatConfig,
    options: dict[str, float | str],
    ours: dict[str, float],
    theirs: dict[str, float],
    peer: Trained,
    targets: int,
) -> None:
    rows = [compare(f"{run}: {metric}", "", [value], [theirs[metric]]) for metric, value in ours.items()]
    notes = [
        "Ours is the run's `vanilla`, as its `evaluate` ranked it; RecBole's session vectors and item embeddings go "
        "through the same ranking: all items, the history left out, the cold items last. One seed each.",
        f"RecBole: {peer.progress}.",
        f"{targets:,} test targets.",
    ]
    settings = {f"ours: {key}": str(value) for key, value in rat.model.model_dump().items()}
    settings |= {f"RecBole: {key}": str(value) for key, value in options.items()}
    title = "Vanilla SASRec beside RecBole's SASRec on the same split"
    name = f"recbole_quality_{run}"
    write_results(make_results(name, title, rows, settings=settings, peer_versions=peer.versions, notes=notes))


if __name__ == "__main__":
    main()
