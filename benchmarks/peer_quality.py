"""Quality of our vanilla models beside RecBole's and RecTools' on the split of a run, all ranked by our evaluation.

    python -m benchmarks.peer_quality --run runs/beauty [--model gru4rec] [--peer rectools] [--layers 1] ...

Trains both on the run's own training histories with full softmax, in the same sizes, and ranks the test targets among
all items, the history left out. Needs the run's `prepare`. What was trained before on the same data by the same options
is not trained again. Writes `results/peer_quality_<run>_<model>_<peer>.json` and `.md`.

Peers: RecBole has SASRec, GRU4Rec and BERT4Rec; RecTools has SASRec and BERT4Rec.
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.peer_environment import recbole_python, rectools_python
from benchmarks.peer_files import write_peer_files
from benchmarks.recbole_options import RECBOLE_MODELS, recbole_options
from benchmarks.rectools_options import RECTOOLS_MODELS, rectools_options
from benchmarks.results import WORK, compare, make_results, write_results
from benchmarks.worker import worker_environment
from llmemb.files import sha256_of_file
from llmemb.sequence_models import sequence_model_class
from llmemb_training.config import Config, RatConfig
from llmemb_training.data.dataset import Dataset, Rows, read_dataset
from llmemb_training.evaluation.baselines import warm_only
from llmemb_training.evaluation.ranking import Array, Ranks, Scorer, embedding_scorer, full_ranks, hit_rate, ndcg
from llmemb_training.rat.id_recommender import train_on_ids
from llmemb_training.rat.recommenders import VANILLA, read_recommender

FOLDER = WORK / "peer_quality"
PEERS = {"recbole": RECBOLE_MODELS, "rectools": RECTOOLS_MODELS}
"""Models of each peer, by our names."""
KS = (10, 20)
AIM = 0.97
"""Target: minimum ratio of ours to the peer's."""
TOLERANCE = 2e-4
"""RecBole rounds to four digits, and ties are ordered differently."""
Options = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Trained:
    """A model after training.

    Args:
        ranks: of the test targets, by our evaluation.
        progress: a sentence on how the training went.
        versions: of a peer's environment; empty for ours.
    """

    ranks: Ranks
    progress: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a training ends, and by how much of the machine it runs."""

    epochs: int
    patience: int
    max_minutes: float
    threads: int


def train_ours(config: RatConfig, seed: int, dataset: Dataset, *, exclude_history: bool) -> Trained:
    """Train our vanilla model, or resume its training."""
    folder = FOLDER / f"ours-{_key(config.model_dump_json(), seed, dataset.info.model_dump_json())}"
    folder.mkdir(parents=True, exist_ok=True)
    progress = train_on_ids(VANILLA, config, seed, dataset, folder, folder / "logs")
    recommender = read_recommender(folder, config.model)
    scorer = warm_only(embedding_scorer(recommender.model, recommender.item_vectors), dataset.num_items)
    ranks = full_ranks(scorer, dataset.test, dataset.num_items, exclude_history=exclude_history)
    return Trained(ranks, str(progress), {})


def train_peer(
    peer: str, files: Path, config: RatConfig, given: Options, batch: int, seed: int, limits: Limits
) -> Path:
    """Train a peer's model on the files unless it was done by the same options; return the file of the outcome.

    Args:
        peer: `recbole` or `rectools`.
        files: of `benchmarks.peer_files`.
        config: of ours, whose sizes it gets.
        given: options in the peer's own words, instead of those.
        batch: of RecBole, in targets.
        seed: of the peer's draws.
        limits: when to end.
    """
    asked: dict[str, object] = {"data": str(files), "max_minutes": limits.max_minutes}
    if peer == "recbole":
        own = {"epochs": limits.epochs, "stopping_step": limits.patience, "seed": seed}
        asked["config"] = recbole_options(config, batch) | own | given
        python, module = recbole_python(), "benchmarks.recbole_worker"
    else:
        asked |= {"name": RECTOOLS_MODELS[config.model.name], "model": rectools_options(config) | given}
        asked |= {"seed": seed, "epochs": limits.epochs, "patience": limits.patience}
        python, module = rectools_python(), "benchmarks.rectools_worker"
    texts = [sha256_of_file(path) for path in sorted([*files.glob("*.inter"), files / "windows.npz"])]
    output = FOLDER / f"{peer}-{_key(json.dumps(texts), json.dumps(asked, sort_keys=True))}.npz"
    if not output.is_file():
        options = output.with_suffix(".json")
        options.write_text(json.dumps(asked | {"output": str(output)}, indent=2), encoding="utf-8")
        subprocess.run(
            [str(python), "-W", "ignore", "-m", module, "train", str(options)],
            cwd=FOLDER,
            env=worker_environment(limits.threads),
            check=True,
        )
    return output


def _key(*texts: object) -> str:
    return hashlib.sha256(json.dumps([str(text) for text in texts]).encode()).hexdigest()[:12]


def rank(outcome: Path, dataset: Dataset, *, exclude_history: bool) -> Trained:
    """Rank the test targets by a peer's session and item vectors, among all items but those it has no vector of."""
    with np.load(outcome) as arrays:
        sessions, items = arrays["sessions"], arrays["items"]
        epochs, versions = json.loads(str(arrays["progress"])), json.loads(str(arrays["versions"]))
        stopped, minutes, own = str(arrays["stopped"]), float(arrays["seconds"]) / 60, float(arrays["own_ndcg"])
        assert (arrays["targets"] == dataset.test.rows).all(), "not the same test targets"

    def ranks_of(*, exclude_history: bool) -> Ranks:
        scorer = _scorer(sessions, items, dataset.num_items)
        return full_ranks(scorer, dataset.test, dataset.num_items, exclude_history=exclude_history)

    # Without exclusions, the result must equal the peer's own evaluation; otherwise the export is wrong.
    plain = float(ndcg(ranks_of(exclude_history=False), 10).mean())
    assert abs(plain - own) < TOLERANCE, f"NDCG@10 {plain:.5f} by our ranking, {own:.5f} by the peer's"
    best = max(epochs, key=lambda epoch: epoch["ndcg@10"])
    progress = (
        f"stopped by {stopped} after {len(epochs)} epochs and {minutes:.0f} minutes; best epoch {best['epoch']}, "
        f"validation NDCG@10 {best['ndcg@10']:.4f}, "
        f"training loss {best['loss']:.3f} there and {epochs[-1]['loss']:.3f} at the end"
    )
    return Trained(ranks_of(exclude_history=exclude_history), progress, versions)


def _scorer(sessions: Array, items: Array, num_items: int) -> Scorer:
    """Score the first W items by their vectors `(W, d)` and the session vectors `(n, d)`, in request order."""
    done = 0
    # A peer may have no vector of an item that it never met.
    known = np.flatnonzero(np.isfinite(items).all(axis=1))

    def score(histories: Sequence[Rows]) -> Array:
        nonlocal done
        scores = np.full((len(histories), num_items), -np.inf, dtype=np.float32)
        scores[:, known] = sessions[done : done + len(histories)] @ items[known].T
        done += len(histories)
        return scores

    return score


def figures(ranks: Ranks) -> dict[str, float]:
    """Return HR@k and NDCG@k."""
    return {f"HR@{k}": float(hit_rate(ranks, k).mean()) for k in KS} | {
        f"NDCG@{k}": float(ndcg(ranks, k).mean()) for k in KS
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run folder")
    parser.add_argument("--model", choices=list(RECBOLE_MODELS), help="the run's by default")
    parser.add_argument("--peer", choices=list(PEERS), default="recbole")
    for name, kind in (("layers", int), ("dropout", float), ("max-length", int)):
        parser.add_argument(f"--{name}", type=kind, help="of both sides; the run's by default")
    for name in ("learning-rate", "mask-share", "truncated-share"):
        parser.add_argument(f"--{name}", type=float, help="of both sides; the run's by default")
    parser.add_argument("--peer-set", action="append", default=[], metavar="NAME=VALUE", help="an option of the peer")
    parser.add_argument("--batch-size", type=int, default=512, help="of RecBole, in targets")
    parser.add_argument("--epochs", type=int, default=200, help="maximum epochs of both sides")
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better validation NDCG@10")
    parser.add_argument("--max-minutes", type=float, default=600, help="ends the peer's training after its epoch")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    config = Config.model_validate_json((given.run / "config.json").read_text(encoding="utf-8"))
    rat = _config_of(config.rat, given)
    model = rat.model.name
    if model not in PEERS[given.peer]:
        parser.error(f"--model {model}: {given.peer} has {', '.join(PEERS[given.peer])}")
    limits = Limits(epochs=given.epochs, patience=given.patience, max_minutes=given.max_minutes, threads=given.threads)
    torch.set_num_threads(given.threads)
    dataset = read_dataset(given.run / "prepare")
    run = given.run.resolve().name
    exclude = config.evaluate.exclude_history
    ours = train_ours(rat, config.seed, dataset, exclude_history=exclude)
    print(f"ours: {figures(ours.ranks)}; {ours.progress}", flush=True)
    files = FOLDER / f"{run}-{rat.model.max_length}-{sequence_model_class(model).objective.replace('_', '-')}"
    write_peer_files(dataset, files, rat.model.max_length, sequence_model_class(model).objective)
    words = {name: _value(text) for name, _, text in (entry.partition("=") for entry in given.peer_set)}
    outcome = train_peer(given.peer, files, rat, words, given.batch_size, config.seed, limits)
    peer = rank(outcome, dataset, exclude_history=exclude)
    print(f"{given.peer}: {figures(peer.ranks)}; {peer.progress}")
    _write(run, given.peer, rat, words, ours, peer)


def _config_of(rat: RatConfig, given: argparse.Namespace) -> RatConfig:
    """Return the section with what the command line says in it."""
    sizes = {"name": given.model, "layers": given.layers, "dropout": given.dropout, "max_length": given.max_length}
    content = rat.model_dump()
    content["model"] |= {name: value for name, value in sizes.items() if value is not None}
    options = {name: getattr(given, name) for name in ("learning_rate", "mask_share", "truncated_share")}
    content |= {name: value for name, value in options.items() if value is not None}
    content |= {"loss": "softmax", "logit_adjustment": 0.0, "max_epochs": given.epochs, "patience": given.patience}
    return RatConfig.model_validate(content)


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _write(run: str, peer: str, rat: RatConfig, words: Options, ours: Trained, theirs: Trained) -> None:
    of_peer = figures(theirs.ranks)
    rows = [
        compare(f"{run}, {rat.model.name}: {metric}", "", [value], [of_peer[metric]], (">=", AIM))
        for metric, value in figures(ours.ranks).items()
    ]
    notes = [
        "Session vectors and item vectors of both go through the same ranking: all items, the history left out, the "
        "cold items last. One seed each.",
        f"Ours: {ours.progress}.",
        f"{peer}: {theirs.progress}.",
        f"{len(ours.ranks):,} test targets.",
    ]
    settings = {key: str(value) for key, value in rat.model.model_dump().items()}
    settings |= {key: str(getattr(rat, key)) for key in ("learning_rate", "batch_size", "patience")}
    if rat.model.name == "bert4rec":
        settings |= {key: str(getattr(rat, key)) for key in ("mask_share", "truncated_share")}
    settings |= {f"{peer}: {key}": str(value) for key, value in words.items()}
    title = f"Our vanilla {RECBOLE_MODELS[rat.model.name]} beside that of {peer} on the same split"
    name = f"peer_quality_{run}_{rat.model.name}_{peer}"
    write_results(make_results(name, title, rows, settings=settings, peer_versions=theirs.versions, notes=notes))


if __name__ == "__main__":
    main()
