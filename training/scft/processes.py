"""The processes that `torchrun` or `accelerate launch` starts: the main one runs the line, the others help it train.

Each process calls `joined`. The main one calls `summon` before work that all take part in; the others wait for it in
`jobs`, which ends when the main one leaves.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The main process may be at work alone for long, before it needs the others.
_PATIENCE = timedelta(days=7)


def count() -> int:
    """Return how many processes there are; 1 where no launcher started this one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes folders and prints; the only one there is, or rank 0."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes; when the main one leaves without an error, the others learn that they are free."""
    if count() == 1:
        yield
        return
    from torch import cuda, distributed

    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda.is_available() else "gloo", timeout=_PATIENCE)
    yield
    if is_main():
        _tell("")
    distributed.destroy_process_group()


def summon(job: str) -> None:
    """In the main process: call the others to a job, which is described in JSON."""
    if count() > 1:
        _tell(job)


def jobs() -> Iterator[str]:
    """In the others: yield each job that the main process calls to, until it leaves."""
    while job := _tell(""):
        yield job


def _tell(word: str) -> str:
    """Return the main process's word in every process."""
    from torch import device, distributed

    words = [word]
    distributed.broadcast_object_list(words, src=0, device=device("cpu"))
    return words[0]


def sum_up(tensor: "Tensor") -> "Tensor":
    """Return the sum of the processes' tensors, in all of them; changes `tensor` in place."""
    if count() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)
    return tensor


def from_main(number: float) -> float:
    """Return the main process's number in all of them."""
    return float(_tell(str(number))) if count() > 1 else number
