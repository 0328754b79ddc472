"""Recommending with real parts and without an HTTP server: queue, recommender, and the encoder in this process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, ClassVar

from torch import Tensor

from llmemb.bundle import Bundle, read_bundle
from llmemb.sequence_models import SequenceModel
from llmemb.sequence_models.sequence_model import Objective
from llmemb_service.catalogue.catalogue import Head
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.encoding.cache import MemoryCache
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.observability.metrics import Metrics
from llmemb_service.ranking.rank_queue import RankQueue
from llmemb_service.ranking.recommender import Recommender
from llmemb_service.settings import Settings
from llmemb_service.storage.changes import Change
from tests.support.service import DEADLINE_SECONDS


class EncoderHere:
    """A bundle's encoder, called in this process."""

    def __init__(self, bundle: Bundle) -> None:
        self._encoder = bundle.load_encoder()

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        vectors = self._encoder.encode(list(prompts))
        return [RawEmbedding(vector, len(prompt)) for prompt, vector in zip(prompts, vectors, strict=True)]

    async def fault(self) -> str | None:
        return None

    async def close(self) -> None:
        pass


class Gate(SequenceModel):
    """A sequence model that waits before each batch until it is let through, and notes the batches' sizes."""

    objective: ClassVar[Objective] = "next_item"

    def __init__(self, model: SequenceModel) -> None:
        super().__init__(model.spec)
        self.model = model
        self.reached, self.open = Event(), Event()
        self.batches: list[int] = []

    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        outputs: Tensor = self.model(items, present)
        return outputs

    def session_vectors(self, items: Tensor, present: Tensor) -> Tensor:
        self.batches.append(len(items))
        self.reached.set()
        assert self.open.wait(DEADLINE_SECONDS)
        return self.model.session_vectors(items, present)


def gated(bundle: Bundle) -> tuple[Bundle, Gate]:
    """Put a gate before a bundle's sequence model."""
    gate = Gate(bundle.sequence_model)
    return replace(bundle, sequence_model=gate), gate


@dataclass
class Recommending:
    """A recommender, and what it is made of; `catalogue.snapshot` may be put in place of another."""

    bundle: Bundle
    catalogue: SimpleNamespace
    queue: RankQueue
    recommender: Recommender
    settings: Settings
    metrics: Metrics

    @property
    def snapshot(self) -> Snapshot:
        snapshot: Snapshot = self.catalogue.snapshot
        return snapshot

    def change(self, *changes: Change) -> None:
        """Let the catalogue take changes in."""
        head = Head(self.snapshot, fold_items=10**6, metrics=self.metrics)
        head.apply(list(changes))
        self.catalogue.snapshot = head.snapshot
        head.close()

    def metric(self, line: str) -> float:
        """The value of a metric, by all that stands before it."""
        for shown in self.metrics.exposition().decode().splitlines():
            if shown.startswith(f"{line} "):
                return float(shown.rsplit(" ", 1)[1])
        return 0.0


@asynccontextmanager
async def recommending(
    bundle: Bundle | Path, metrics: Metrics | None = None, **overrides: Any
) -> AsyncIterator[Recommending]:
    """Open a recommender for a bundle, on the running event loop."""
    bundle = read_bundle(bundle) if isinstance(bundle, Path) else bundle
    settings, metrics = Settings(bundle=bundle.folder, **overrides), metrics or Metrics()
    embedder = ItemEmbedder(
        bundle=bundle, cache=MemoryCache(100), encoder=EncoderHere(bundle), timeout_seconds=60, metrics=metrics
    )
    catalogue = SimpleNamespace(snapshot=Snapshot.of(bundle))
    queue = RankQueue(settings, metrics)
    try:
        recommender = Recommender(bundle, catalogue, embedder, queue, settings, metrics)  # type: ignore[arg-type]
        yield Recommending(bundle, catalogue, queue, recommender, settings, metrics)
    finally:
        queue.close()
