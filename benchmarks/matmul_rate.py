"""How near the engine comes to what the machine can multiply: flops of the layers' matrices, beside its best."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from llmemb.encoder.encoder import Encoder
from llmemb.encoder.engines.packed import PackedEngine
from llmemb.encoder.engines.token_tree import build_tree

SIDE = 2048
BATCH_TOKENS = 2048
SHOWN_OPERATIONS = 10


class RateMeter:
    """Counts the work of an LLM's layers.

    Args:
        model: the LLM.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        matrices = [weight for name, weight in model.state_dict().items() if name.startswith("layers.")]
        self._per_token = 2 * sum(weight.numel() for weight in matrices if weight.dim() == 2)

    def measure(
        self, encoder: Encoder, prompts: Sequence[str], rounds: int, clock: Callable[[], float]
    ) -> tuple[list[float], list[float]]:
        """Return the rates while embedding and the machine's best, in GFLOP a second, a round each.

        Args:
            encoder: tokenises the prompts.
            prompts: go through the packed engine in its own batches.
            rounds: in each, every batch is computed once and followed by the products that are compared.
            clock: in seconds; of the processor, it gives the rates of one core, and what else runs counts less.
        """
        engine, batches = self._batches(encoder, prompts)
        nodes = sum(map(_nodes, batches))
        engine.embed(batches[0])
        rates, best = [], []
        for _ in range(rounds):
            seconds, fastest = 0.0, float("inf")
            for batch in batches:
                seconds += _seconds(lambda batch=batch: engine.embed(batch), clock)
                fastest = min(fastest, *(_seconds(product, clock) for product in _products()))
            rates.append(self._per_token * nodes / seconds / 1e9)
            best.append(2 * SIDE**3 / fastest / 1e9)
        return rates, best

    def shares(self, encoder: Encoder, prompts: Sequence[str]) -> str:
        """Say which operations the time of embedding goes to, the greatest first."""
        engine, batches = self._batches(encoder, prompts)
        engine.embed(batches[0])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for batch in batches:
                engine.embed(batch)
        times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
        whole = sum(times.values())
        greatest = sorted(times.items(), key=lambda entry: -entry[1])[:SHOWN_OPERATIONS]
        return ", ".join(f"{name.split('::')[-1]} {100 * time / whole:.1f} %" for name, time in greatest)

    def _batches(self, encoder: Encoder, prompts: Sequence[str]) -> tuple[PackedEngine, list[list[list[int]]]]:
        """Return an engine and its batches, but for a last one that is small."""
        engine = PackedEngine(self._model, "mean")
        token_ids = encoder.tokenize(prompts)
        batches = [[token_ids[i] for i in batch] for batch in engine.batches(token_ids, BATCH_TOKENS)]
        return engine, [batch for batch in batches if batch is batches[0] or _nodes(batch) > BATCH_TOKENS // 2]


def _nodes(batch: Sequence[Sequence[int]]) -> int:
    return len(build_tree(batch).tokens)


def _products() -> list[Callable[[], object]]:
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    packed = torch.ops.mkldnn._reorder_linear_weight(b, SIDE)
    return [
        lambda: torch.mm(a, b),
        lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], ""),
    ]


@torch.inference_mode()
def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start
