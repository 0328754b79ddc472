"""Speed of SCFT against the trainer of sentence-transformers: same LLM, histories, views, LoRA and threads.

    python -m benchmarks.scft [--data ../shared/data] [--base MODEL.gguf] [--depth 4] [--rounds 3] [--threads 2]

They take turns. Writes `results/scft.json` and `results/scft.md`. Without the folder of Amazon Scientific there it does
nothing.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.embedding_texts import CONFIGS, source_folder
from benchmarks.results import REPOSITORY, WORK, Row, compare, make_results, write_results
from benchmarks.worker import Answer, Worker
from llmemb.encoder.encoder import load_llm
from llmemb_training.config import ScftConfig, config_file, load_config
from llmemb_training.steps import prepare

SOURCE = "Scientific"
SEED = 42
AIM = 40.0
PEER = "sentence-transformers"
NOTES = (
    "A pair is a step of a training history: what was taken before, and what was taken then. Ours embeds each item of "
    "a batch of histories once; theirs, `MultipleNegativesRankingLoss`, embeds two texts of every pair: the item "
    "before, and the item taken. Both have LoRA on all linear layers, without dropout, and the same precision.",
    "By processor: pairs by the processor time of all threads, which other work on the machine changes less.",
    "The aim in pairs a second is one row, ours beside the target.",
)


def make_rows(answers: dict[str, list[Answer]], depth: int) -> list[Row]:
    """Compare ours with the target and with the peer."""

    def speeds(who: str, key: str) -> list[float]:
        return [float(answer["pairs"]) / float(answer[key]) for answer in answers[who]]

    name = f"{SOURCE}, {depth} layers"
    seconds, processor = speeds("ours", "seconds"), speeds("ours", "cpu_seconds")
    return [
        compare(f"{name}: SCFT; the aim", "pairs/s", seconds, [AIM], (">=", 1.0)),
        compare(f"{name}: SCFT; {PEER}", "pairs/s", seconds, speeds("peer", "seconds")),
        compare(f"{name}: SCFT; {PEER}, by processor", "pairs/s", processor, speeds("peer", "cpu_seconds")),
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--base", type=Path, default=REPOSITORY / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48, help="maximum tokens of a text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="threads of each side")
    given = parser.parse_args()
    source = source_folder(SOURCE, given.data)
    if not source.is_dir():
        print(f"no {source}: nothing to measure")
        return
    folder = WORK / "scft"
    dataset_folder, base = folder / "prepare", folder / f"base-{given.depth}"
    dataset_folder.mkdir(parents=True, exist_ok=True)
    configured = load_config(config_file(CONFIGS[SOURCE])).prepare
    prepare.run(configured.model_copy(update={"path": str(source)}), SEED, dataset_folder)
    load_llm(str(given.base), depth=given.depth, max_tokens=128).save(base)
    config = ScftConfig(positives="next", max_tokens=given.max_tokens, drop_share=0.3, epochs=3)
    section = folder / "scft.json"
    section.write_text(config.model_dump_json(), encoding="utf-8")
    answers: dict[str, list[Answer]] = {"ours": [], "peer": []}
    with ExitStack() as stack:
        workers = {
            who: stack.enter_context(
                Worker(
                    Path(sys.executable),
                    "benchmarks.scft_worker",
                    (who, str(dataset_folder), str(base), str(section)),
                    threads=given.threads,
                    folder=folder,
                    name=who,
                )
            )
            for who in answers
        }
        for number in range(given.rounds + 1):
            for who, worker in workers.items():
                answer = worker.round()
                # The first one takes memory that the others find.
                if number:
                    answers[who].append(answer)
                print(f"round {number}: {who}: {answer}", flush=True)
        facts = workers["peer"].facts
    write_results(
        make_results(
            "scft",
            "SCFT beside the trainer of sentence-transformers",
            make_rows(answers, given.depth),
            settings={
                "rounds": str(given.rounds),
                "threads": str(given.threads),
                "precision": str(facts["precision"]),
                "longest text": f"{given.max_tokens} tokens",
                "histories of a batch": str(config.batch_histories),
            },
            peer_versions={name.split()[1]: str(value) for name, value in facts.items() if name.startswith("version")},
            notes=NOTES,
        )
    )


if __name__ == "__main__":
    main()
