"""The encoder's process under test, on an event loop that several tests share."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.encoding.encoder_process import EncoderProcess
from service.encoding.worker import WorkerOptions
from service.sight.metrics import Metrics


@dataclass(frozen=True)
class RunningEncoder:
    """A process, its metrics, and the loop that it is used on."""

    process: EncoderProcess
    metrics: Metrics
    loop: asyncio.Runner


def encoder_options(bundle: Path, device: str = "cpu") -> WorkerOptions:
    """Make the options of a tiny bundle's encoder."""
    return WorkerOptions(folder=bundle / "encoder", device=device, threads=1, nice=5, batch_tokens=512)


@contextmanager
def running_encoder(bundle: Path, *, max_items: int = 64, stall_seconds: float = 1000.0) -> Iterator[RunningEncoder]:
    """Run the encoder of a bundle in its process."""
    metrics = Metrics()
    process = EncoderProcess(encoder_options(bundle), max_items=max_items, stall_seconds=stall_seconds, metrics=metrics)
    with asyncio.Runner() as loop:
        loop.run(process.start())
        try:
            yield RunningEncoder(process, metrics, loop)
        finally:
            loop.run(process.close())
