"""The encoder's process under test, on an event loop that several tests share."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmemb.bundle.bundle import ENCODER_FOLDER
from llmemb.bundle.read import read_manifest, verify_files
from llmemb_service.encoding.encoder_process import EncoderProcess
from llmemb_service.encoding.worker import WorkerOptions
from llmemb_service.observability.metrics import Metrics
from tests.support.tiny import TINY_PROMPT
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class RunningEncoder:
    """A process, its metrics, and the loop that it is used on."""

    process: EncoderProcess
    metrics: Metrics
    loop: asyncio.Runner


def encoder_options(bundle: Path, nice: int | None = 5) -> WorkerOptions:
    """Make the options of a tiny bundle's encoder."""
    return WorkerOptions(
        folder=bundle / ENCODER_FOLDER,
        device="cpu",
        engine="auto",
        beginning=TINY_PROMPT.beginning,
        threads=1,
        nice=nice,
        batch_tokens=512,
    )


@dataclass(frozen=True)
class EncoderFamily:
    """The worker, its fork server, and the standby of the fork server; all of one session."""

    host: psutil.Process
    standby: psutil.Process
    worker: psutil.Process


def encoder_family(hosts: Callable[[], Iterable[psutil.Process]]) -> EncoderFamily:
    """Poll `hosts` until one of them has a worker and a standby."""
    found: list[EncoderFamily] = []

    def find() -> bool:
        with suppress(psutil.NoSuchProcess):
            for host in hosts():
                forked = [each for each in host.children() if each.status() != psutil.STATUS_ZOMBIE]
                # A worker reads its connection in a second thread; a fork server has only one thread.
                forked.sort(key=psutil.Process.num_threads)
                if [process.num_threads() > 1 for process in forked] == [False, True]:
                    found.append(EncoderFamily(host, *forked))
        return bool(found)

    wait_until(find, "the encoder has a worker and a standby")
    return found[0]


def make_encoder_process(
    bundle: Path,
    *,
    max_items: int = 8,
    timeout_seconds: float = 30.0,
    metrics: Metrics | None = None,
    nice: int | None = 5,
) -> EncoderProcess:
    """Make the process of a bundle's encoder, which has not started."""
    return EncoderProcess(
        encoder_options(bundle, nice),
        verify=lambda: verify_files(bundle, read_manifest(bundle), ENCODER_FOLDER),
        max_items=max_items,
        timeout_seconds=timeout_seconds,
        metrics=metrics or Metrics(),
    )


@contextmanager
def running_encoder(bundle: Path, *, max_items: int = 64, timeout_seconds: float = 500.0) -> Iterator[RunningEncoder]:
    """Run the encoder of a bundle in its process."""
    metrics = Metrics()
    process = make_encoder_process(bundle, max_items=max_items, timeout_seconds=timeout_seconds, metrics=metrics)
    with asyncio.Runner() as loop:
        loop.run(process.start())
        try:
            yield RunningEncoder(process, metrics, loop)
        finally:
            loop.run(process.close())
