"""Trains an encoder contrastively, some steps a round: `WHO DATASET BASE CONFIG`, where WHO is `ours` or `peer`.

DATASET is the folder of `prepare`, BASE an encoder folder, CONFIG a JSON file of the section `scft`. The peer is the
trainer of sentence-transformers with `MultipleNegativesRankingLoss` on the same steps of the same histories, as pairs
of the text of the item before and that of the item taken: each of them goes through the LLM. LoRA, the precision, the
views and the longest text are the same.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path

import torch
from datasets import Dataset as TextPairs
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MultipleNegativesRankingLoss

from benchmarks.worker import Answer, serve
from llmemb.encoder.engines.llama_weights import multiplies_bfloat16
from llmemb_training.config import ScftConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.scft.batches import Batch, Batches
from llmemb_training.scft.contrastive import ContrastiveTrainer, add_lora

SEED = 42
STEPS = 2
"""Of a round, ours."""
PEER_PAIRS = 96
"""Pairs of a step of the peer: twice as many texts; its speed does not hang on their number."""


def prepare(who: str, dataset_folder: Path, base: Path, config: ScftConfig) -> tuple[Answer, Callable[[], Answer]]:
    """Prepare for some steps a round."""
    dataset = read_dataset(dataset_folder)
    texts = dataset.items["attributes"].to_list()
    batches = Batches(texts, dataset.num_warm, dataset.train, dataset.prompt(100), config, SEED)
    bfloat16 = multiplies_bfloat16(torch.device("cpu"))
    facts: Answer = {"precision": "bfloat16" if bfloat16 else "float32"}
    if who == "ours":
        return facts, _ours(batches, base, config)
    facts |= {f"version {name}": version(name) for name in ("sentence-transformers", "transformers", "peft")}
    return facts, _peer(batches, base, config, bfloat16=bfloat16)


def _ours(batches: Batches, base: Path, config: ScftConfig) -> Callable[[], Answer]:
    trainer = ContrastiveTrainer(base, config, SEED, None)
    steps = count()

    def work() -> Answer:
        start, cpu, pairs = time.perf_counter(), time.process_time(), 0
        for step in (next(steps) for _ in range(STEPS)):
            batch = batches[step % len(batches)]
            trainer.step(batch, step, config.learning_rate)
            pairs += batch.num_pairs
        return {"pairs": pairs, "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}

    return work


def _peer(batches: Batches, base: Path, config: ScftConfig, *, bfloat16: bool) -> Callable[[], Answer]:
    encoder = SentenceTransformer(str(base), device="cpu")
    encoder.max_seq_length = config.max_tokens
    add_lora(encoder.transformers_model, config.lora_rank, config.lora_alpha, config.lora_dropout)
    rounds = count()

    def work() -> Answer:
        pairs = _text_pairs(batches[next(rounds) % len(batches)])[:PEER_PAIRS]
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(base.parent / "peer"),
            max_steps=1,
            per_device_train_batch_size=len(pairs),
            learning_rate=config.learning_rate,
            bf16=bfloat16,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SentenceTransformerTrainer(
            model=encoder,
            args=arguments,
            train_dataset=TextPairs.from_dict(
                {"anchor": [before for before, _ in pairs], "positive": [after for _, after in pairs]}
            ),
            loss=MultipleNegativesRankingLoss(encoder),
        )
        start, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        return {
            "pairs": len(pairs), "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu
        }  # fmt: skip

    return work


def _text_pairs(batch: Batch) -> list[tuple[str, str]]:
    """Return the views of the last item before each step of a batch, and of the item taken."""
    assert batch.next_pairs is not None
    last = batch.next_pairs.weights.argmax(axis=1)
    return [(batch.views[i], batch.views[j]) for i, j in zip(last, batch.next_pairs.positives, strict=True)]


if __name__ == "__main__":
    who, dataset_folder, base_folder, config_file = sys.argv[1:]
    section = ScftConfig.model_validate(json.loads(Path(config_file).read_text(encoding="utf-8")))
    serve(lambda: prepare(who, Path(dataset_folder), Path(base_folder), section))
