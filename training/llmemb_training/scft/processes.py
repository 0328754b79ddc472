"""Distributed training with `torchrun` or `accelerate launch`: the main process runs the pipeline, workers help train.

Every process calls `joined`. The main process calls `summon` before distributed work; the workers wait for jobs in
`jobs`, which ends when the main process finishes.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import Tensor

# The main process may work alone for a long time before it needs the workers.
_PATIENCE = timedelta(days=7)


def count() -> int:
    """Return the number of processes; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process, starting at 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process has rank 0: the one that writes files and prints."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes; when the main process exits without an error, the workers are told to stop."""
    if count() == 1:
        yield
        return
    from torch import cuda, distributed

    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda.is_available() else "gloo", timeout=_PATIENCE)
    yield
    if is_main():
        _broadcast_text("")
    distributed.destroy_process_group()


def leave() -> NoReturn:
    """End this process with exit code 0, its work done and written, without shutting the interpreter down.

    In the shutdown of a process of `torchrun` a native thread aborts the process about once in ten times ("terminate
    called without an active exception"), and `torchrun` then reports a failure.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def summon(job: str) -> None:
    """In the main process: send a job, described in JSON, to the workers."""
    if count() > 1:
        _broadcast_text(job)


def jobs() -> Iterator[str]:
    """In a worker: yield each job from the main process until it finishes."""
    while job := _broadcast_text(""):
        yield job


def _broadcast_text(word: str) -> str:
    """Return the main process's text in every process."""
    from torch import device, distributed

    words = [word]
    distributed.broadcast_object_list(words, src=0, device=device("cpu"))
    return words[0]


def sum_up(tensor: "Tensor") -> "Tensor":
    """Sum `tensor` over all processes, in place, and return it."""
    if count() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def from_main(number: float) -> float:
    """Return the main process's number in every process."""
    return float(_broadcast_text(str(number))) if count() > 1 else number
