"""Bulk embedding against sentence-transformers: the same encoder and prompts, alternating in one process.

    python -m benchmarks.embedding --bundle runs/demo/bundle [--base MODEL.gguf] [--tokens 6000] [--rounds 5]

Writes `results/embedding.json` and `results/embedding.md`.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from benchmarks.embedding_texts import CONFIGS, read_prompts, source_folder
from benchmarks.matmul_rate import RateMeter
from benchmarks.results import REPOSITORY, WORK, Row, compare, make_results, write_results
from llmemb.bundle import read_bundle
from llmemb.bundle.bundle import ENCODER_FOLDER
from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.engines.admission import MIN_COSINE, MIN_OVERLAP, agreement

Array = NDArray[np.float32]
PEER = "sentence-transformers"
EXACT, ADMITTED = "exact", "packed-bfloat16"
AIMS = {"MovieLens": 1.4, "Beauty": None, "Scientific": 1.15}
ADMITTED_AIM, DEPTH_AIM = 2.5, 6
NOTES = (
    "Ours: `Encoder.encode`, told how the prompts begin, as the step `embed` is. Theirs: `encode` with batches of 32, "
    "which it sorts by length. The same float32 weights, threads, process and prompts, from texts to vectors, round by "
    "round in alternation. By processor time: the time of all threads, which other work on the machine changes less.",
    "Cosines and the overlap of the ten nearest compare with transformers' float32 vectors of the same encoder.",
    f"`{ADMITTED}` has bulk rows where it would be admitted: cosines of {MIN_COSINE}, an overlap of {MIN_OVERLAP}.",
    "Full depth: the same base model with all its layers in sentence-transformers; ours has the bundle's layers. It is "
    "another encoder, so no cosine is stated: what the depth costs in quality is in docs/experiments.md.",
    "Matmul rate: products of layers' weights and of nothing else, by the processor time of whole batches, tokens to "
    "vectors, or by the clock; beside it the best product of two 2048-wide matrices, by MKL or oneDNN, between them.",
)


@dataclass(frozen=True, slots=True)
class Work:
    """Prompts of one source, and their vectors from transformers."""

    name: str
    beginning: str
    prompts: list[str]
    tokens: float
    """Mean number of tokens of a prompt."""
    exact: Array


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--base", type=Path, default=REPOSITORY / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--data", type=Path, help="folder with the Amazon sources; missing ones are skipped")
    parser.add_argument(
        "--tokens", type=int, default=6000, help="approximate number of tokens of all prompts of a source"
    )
    parser.add_argument(
        "--full-depth-items", type=int, default=48, help="number of prompts for the full-depth comparison"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = read_bundle(options.bundle).folder / ENCODER_FOLDER
    ours = {EXACT: Encoder.load(folder), ADMITTED: Encoder.load(folder, engine=ADMITTED)}
    theirs = SentenceTransformer(str(folder), device="cpu")
    reference = Encoder.load(folder, engine="transformers")
    sources = {name: source_folder(name, options.data) for name in CONFIGS}
    works = [_work(name, path, options.tokens, reference) for name, path in sources.items() if path.is_dir()]
    rows, notes = [], list(NOTES)
    for work in works:
        compared, said = _bulk(work, ours, theirs, options.rounds)
        rows += compared
        notes.append(said)
    rows += _beside_full_depth(works[0], ours, options)
    exact, work = ours[EXACT], works[-1]
    meter = RateMeter(exact.model)
    name = f"matmul rate, {work.name}; the machine's best"
    for clock, said in ((time.process_time, "of a core, by processor time"), (time.perf_counter, "by the clock")):
        embedding, peak = meter.measure(exact, work.prompts, options.rounds, clock)
        rows.append(compare(f"{name}, {said}", "GFLOP/s", embedding, peak, (">=", 0.85)))
    notes.append(f"Time of the packed engine, {work.name}: {meter.shares(exact, work.prompts)}.")
    results = make_results(
        "embedding",
        "Embedding in bulk beside sentence-transformers",
        rows,
        settings={name: str(getattr(options, name)) for name in ("tokens", "rounds", "threads")}
        | {"layers": str(exact.depth), "width": str(exact.width)},
        peer_versions={name: version(name) for name in ("sentence-transformers", "transformers")},
        notes=notes,
    )
    write_results(results)


def _work(name: str, source: Path, tokens: int, reference: Encoder) -> Work:
    beginning, prompts = read_prompts(name, tokens, source)
    lengths = np.array([len(ids) for ids in reference.tokenize(prompts)])
    prompts = prompts[: int(np.searchsorted(lengths.cumsum(), tokens))]
    mean = float(lengths[: len(prompts)].mean())
    return Work(name, beginning, prompts, mean, reference.encode(prompts))


def _bulk(work: Work, ours: dict[str, Encoder], theirs: SentenceTransformer, rounds: int) -> tuple[list[Row], str]:
    work_of = _work_of(work.beginning, work.prompts, ours, theirs)
    found = {side: agreement(embed(), work.exact) for side, embed in work_of.items()}
    speeds = _alternate(work_of, len(work.prompts), rounds)
    rows = _rows(f"{work.name}, {work.tokens:.0f} tokens; {PEER}", speeds, EXACT, AIMS[work.name])
    if found[ADMITTED].admitted:
        rows += _rows(f"{work.name}, {work.tokens:.0f} tokens, {ADMITTED}; {PEER}", speeds, ADMITTED, ADMITTED_AIM)
    said = "; ".join(f"{side} {each.describe()}" for side, each in found.items())
    return rows, f"{work.name}, {len(work.prompts)} items: {said}."


def _beside_full_depth(work: Work, ours: dict[str, Encoder], options: argparse.Namespace) -> list[Row]:
    folder = WORK / "embedding" / "full-depth"
    if not (folder / "modules.json").is_file():
        load_llm(str(options.base), max_tokens=ours[EXACT].max_tokens).save(folder)
    full = SentenceTransformer(str(folder), device="cpu")
    prompts = work.prompts[: options.full_depth_items]
    speeds = _alternate(_work_of(work.beginning, prompts, ours, full), len(prompts), options.rounds)
    layers = full[0].auto_model.config.num_hidden_layers
    return [
        row
        for engine, encoder in ours.items()
        for row in _rows(
            f"{work.name}, {encoder.depth} layers, {engine}; {PEER}, all {layers} layers", speeds, engine, DEPTH_AIM
        )
    ]


def _work_of(
    beginning: str, prompts: list[str], ours: dict[str, Encoder], theirs: SentenceTransformer
) -> dict[str, Callable[[], Array]]:
    """Return the embedding function of each side; ours gets the common prefix of the prompts."""
    for encoder in ours.values():
        encoder.expect(beginning)
    encoders = {side: lambda encoder=encoder: encoder.encode(prompts) for side, encoder in ours.items()}
    return {**encoders, PEER: lambda: np.asarray(theirs.encode(prompts, batch_size=32))}


def _alternate(
    work_of: dict[str, Callable[[], Array]], items: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Return items per second of wall time and of processor time, for each round."""
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in work_of}
    for number in range(rounds):
        for name, work in _turned(list(work_of.items()), number):
            start, cpu = time.perf_counter(), time.process_time()
            work()
            speeds[name].append((items / (time.perf_counter() - start), items / (time.process_time() - cpu)))
            print(f"round {number + 1}: {name}: {speeds[name][-1][0]:.1f} items/s", flush=True)
    return speeds


def _rows(name: str, speeds: dict[str, list[tuple[float, float]]], side: str, aim: float | None) -> list[Row]:
    ours, peer = ([clock for clock, _ in speeds[one]] for one in (side, PEER))
    ours_cpu, peer_cpu = ([cpu for _, cpu in speeds[one]] for one in (side, PEER))
    return [
        compare(name, "items/s", ours, peer, None if aim is None else (">=", aim)),
        compare(f"{name}, by processor time", "items/s", ours_cpu, peer_cpu),
    ]


def _turned(entries: Sequence[tuple[str, Callable[[], Array]]], number: int) -> list[tuple[str, Callable[[], Array]]]:
    """Rotate the order, so that each side goes first in turn."""
    return list(entries) if number % 2 == 0 else list(entries)[::-1]


if __name__ == "__main__":
    main()
