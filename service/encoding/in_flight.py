"""Prompts that are under way already are not computed a second time: later callers wait for the first one's result."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.encoding.prompt_encoder import PromptEncoder, RawEmbedding


@dataclass(eq=False, slots=True)
class _Call:
    """One call of the encoder; it ends early when nobody waits for any of its prompts."""

    prompts: list[str]
    task: asyncio.Task[list[RawEmbedding]] = field(init=False)
    waiting: int = 0
    """Callers that wait for it."""


class InFlight:
    """Lets concurrent callers share the computation of a prompt. For one event loop.

    A caller's own prompts are one call of the encoder, which refuses or takes them together. Where somebody waits for
    one of a call's prompts, the whole call goes on.

    Args:
        encoder: what embeds.
    """

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder
        self._calls: dict[str, _Call] = {}

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """Embed prompts, in their order; raises what the encoder raises, and is cancelled alone."""
        calls = {prompt: self._calls[prompt] for prompt in prompts if prompt in self._calls}
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in calls]:
            calls |= dict.fromkeys(new, self._begin(new))
        awaited = set(calls.values())
        for call in awaited:
            call.waiting += 1
        try:
            # Each is awaited, whichever fails first; the tasks are the callers' common ones and must not be cancelled.
            await asyncio.wait([call.task for call in awaited])
        finally:
            for call in awaited:
                self._leave(call)
        found = {
            prompt: embedding
            for call in awaited
            for prompt, embedding in zip(call.prompts, call.task.result(), strict=True)
        }
        return [found[prompt] for prompt in prompts]

    def _begin(self, prompts: list[str]) -> _Call:
        call = _Call(prompts)
        call.task = asyncio.ensure_future(self._encoder.encode(prompts))
        self._calls |= dict.fromkeys(prompts, call)
        call.task.add_done_callback(lambda task: self._done(call, task))
        return call

    def _done(self, call: _Call, task: asyncio.Task[list[RawEmbedding]]) -> None:
        self._end(call)
        # Looked at here, since a caller of several calls meets only the first that failed.
        if not task.cancelled():
            task.exception()

    def _leave(self, call: _Call) -> None:
        call.waiting -= 1
        if call.waiting == 0 and not call.task.done():
            # Nobody may join what is being cancelled.
            self._end(call)
            call.task.cancel()

    def _end(self, call: _Call) -> None:
        for prompt in call.prompts:
            if self._calls.get(prompt) is call:
                del self._calls[prompt]
