"""What a person does, one request after the other, apart from how it is sent: a visit yields steps and gets replies."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from llmemb.client.call import Call

AnyCall = Call[Any]
MOST_TRIES = 6
"""At a step that is refused, before whoever insists gives it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A pause, and the call after it."""

    call: AnyCall
    pause_seconds: float
    may_be_gone: bool = False
    """It names what somebody else may have taken away."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The service asks to be left alone for so long."""

    retry_after_seconds: float


Reply = object
"""The answer's model, `Refused`, or None where there was none."""
Visit = Generator[Step, Reply, None]


def insisting(step: Step) -> Generator[Step, Reply, Reply]:
    """Do a step, and where it is refused again after the time that the service asks for, as programs do."""
    reply = yield step
    for _ in range(MOST_TRIES - 1):
        if not isinstance(reply, Refused):
            break
        reply = yield replace(step, pause_seconds=reply.retry_after_seconds)
    return reply


def drive(visit: Visit, ask: Callable[[Step], Reply], sleep: Callable[[float], object]) -> None:
    """Let a visit run to its end.

    Args:
        visit: not begun.
        ask: sends a step's call and returns the reply.
        sleep: waits so many seconds.
    """
    reply: Reply = None
    while True:
        try:
            step = visit.send(reply)
        except StopIteration:
            return
        sleep(step.pause_seconds)
        reply = ask(step)
