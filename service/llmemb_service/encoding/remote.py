"""A remote encoder: a server with OpenAI's `/v1/embeddings`, such as vLLM, TEI, Infinity or another LLMEmb service."""

import asyncio
import base64
import logging
import math
import time
from collections.abc import Sequence

import httpx2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, SecretStr, ValidationError

from llmemb.bundle import Bundle
from llmemb.errors import ConfigError
from llmemb.scoring.item_space import join
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.errors import EncoderUnavailableError, OverloadedError, RetryLaterError
from llmemb_service.observability.logs import record_part
from llmemb_service.observability.metrics import Metrics

Array = NDArray[np.float32]


class _Entry(BaseModel):
    index: int
    embedding: list[float] | str

    def vector(self) -> Array:
        if isinstance(self.embedding, str):
            return np.frombuffer(base64.b64decode(self.embedding, validate=True), dtype="<f4")
        return np.array(self.embedding, dtype=np.float32)


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)


class _Answer(BaseModel):
    data: list[_Entry]
    usage: _Usage = _Usage()


def read_answer(content: bytes, number: int) -> list[RawEmbedding]:
    """Return the embeddings of `number` prompts, in order.

    The server counts the tokens of all prompts together; they are divided evenly among the prompts.

    Raises:
        ValueError: the answer is not valid, or has another number of embeddings; the message quotes nothing from it.
    """
    try:
        answer = _Answer.model_validate_json(content)
    except ValidationError:
        raise ValueError("no valid list of embeddings") from None
    entries = sorted(answer.data, key=lambda entry: entry.index)
    if [entry.index for entry in entries] != list(range(number)):
        raise ValueError(f"{len(entries)} embeddings for {number} texts, or wrongly numbered")
    try:
        vectors = [entry.vector() for entry in entries]
    except ValueError:
        raise ValueError("embeddings that are not float32 in base64") from None
    if not all(np.isfinite(vector).all() for vector in vectors):
        raise ValueError("embeddings that are not finite")
    share, rest = divmod(answer.usage.prompt_tokens, number)
    return [RawEmbedding(vector, share + (i < rest)) for i, vector in enumerate(vectors)]


TEXTS_PER_REQUEST = 32
"""All of these servers accept this many in one request by default."""
CONCURRENT_REQUESTS = 4
MIN_COSINE = 0.999
"""Of the server's vector with the bundle's, for the same item: it allows half precision, but no other model."""
MAX_DISTANCE = 0.05
"""Between the two vectors, relative to the length of the bundle's; `MIN_COSINE` is about 0.045 for equal lengths."""
CHECKED_ITEMS = 8
"""Items whose vectors are compared: a scaled vector of one item alone may come close by chance."""
PROOF_SECONDS = 5.0
"""How long an answer counts as proof that the server works."""
_PROBE = "ready?"
_MAX_RETRY_SECONDS = 60

logger = logging.getLogger(__name__)
# It logs the URL of every request, which may contain a password.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class RemoteEncoder:
    """A `PromptEncoder` over HTTP.

    Args:
        url: ends with `/v1`.
        model: the server's name for the bundle's encoder.
        api_key: sent as a bearer token; None if the server needs none.
        width: h; every answer must have it.
        max_items: maximum number of prompts in progress.
        timeout_seconds: timeout of one request to the server.
        metrics: gets queue depth and batches.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: SecretStr | None,
        width: int,
        max_items: int,
        timeout_seconds: float,
        metrics: Metrics,
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key.get_secret_value()}"}
        self._client = httpx2.AsyncClient(headers=headers, timeout=timeout_seconds)
        self._url = f"{url.rstrip('/')}/embeddings"
        self._model = model
        self._width = width
        self._max_items = max_items
        self._metrics = metrics
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._num_items = 0
        self._seconds_per_item = 0.01
        self._worked_at = -PROOF_SECONDS

    async def check(self, bundle: Bundle) -> None:
        """Check that the server runs the bundle's encoder: items must get their stored semantic vectors.

        Raises:
            ConfigError: the vectors differ, so the server runs another model or scales its vectors; the message says
                which.
            EncoderUnavailableError: the server does not answer, or its answer is not valid.
            OverloadedError: the server is busy.
        """
        rows = range(min(CHECKED_ITEMS, len(bundle.items.ids)))
        prompts = [bundle.prompt.render(bundle.items.attributes(row)) for row in rows]
        for row, embedding in zip(rows, await self._request(prompts), strict=True):
            raw = embedding.vector
            if len(raw) != self._width:
                raise ConfigError(f"LLMEMB_ENCODER_URL: {self._other_width(len(raw))}")
            self._check_item(bundle, row, raw)

    def _check_item(self, bundle: Bundle, row: int, raw: Array) -> None:
        profile = None if bundle.profile is None else bundle.profile[row]
        stored = join(bundle.semantic[row], profile)
        found = bundle.space.semantic_vectors(raw[None])[0]
        cosine = _cosine(found, stored)
        distance = float(np.linalg.norm(found - stored) / max(float(np.linalg.norm(stored)), 1e-12))
        if cosine >= MIN_COSINE and distance <= MAX_DISTANCE:
            return
        item_id, scale = bundle.items.ids[row], _scale(bundle, row, raw)
        if scale is not None and abs(scale - 1) > MAX_DISTANCE / 10:
            length = float(np.linalg.norm(raw))
            raise ConfigError(
                f"LLMEMB_ENCODER_URL: the server's {self._model!r} scales its vectors: item {item_id!r} gets one of "
                f"length {length:.4g} instead of {length * scale:.4g}; turn off its normalization to unit length"
            )
        raise ConfigError(
            f"LLMEMB_ENCODER_URL: the server's {self._model!r} is not this bundle's encoder: item {item_id!r} gets a "
            f"vector of cosine {cosine:.4f} to the stored one, and at {distance:.2f} of its length from it; they must "
            f"be at least {MIN_COSINE} and at most {MAX_DISTANCE}"
        )

    async def started(self) -> None:
        """See `PromptEncoder`; `check` has already waited for the server."""

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """See `PromptEncoder`.

        The server counts the tokens of a request; they are divided evenly among the request's prompts.

        Raises:
            OverloadedError: the queue is full, or the server is busy.
            EncoderUnavailableError: the server does not answer, or its answer is not valid.
        """
        if self._num_items + len(prompts) > self._max_items:
            wait = min(_MAX_RETRY_SECONDS, max(1, math.ceil(self._num_items * self._seconds_per_item)))
            raise OverloadedError(f"too many texts wait for the encoder's server; try again in {wait} s", wait)
        self._change_depth(len(prompts))
        try:
            parts = [prompts[i : i + TEXTS_PER_REQUEST] for i in range(0, len(prompts), TEXTS_PER_REQUEST)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._request(part)) for part in parts]
        except ExceptionGroup as failures:
            # The first failure is reported; the group has cancelled the other requests.
            raise failures.exceptions[0] from None
        finally:
            self._change_depth(-len(prompts))
        embeddings = [embedding for task in tasks for embedding in task.result()]
        for embedding in embeddings:
            if len(embedding.vector) != self._width:
                raise EncoderUnavailableError(self._other_width(len(embedding.vector)))
        return embeddings

    async def fault(self) -> str | None:
        """See `PromptEncoder`; sends a probe, unless the server has answered in the last `PROOF_SECONDS`."""
        if time.monotonic() - self._worked_at < PROOF_SECONDS:
            return None
        try:
            await self.encode([_PROBE])
        except RetryLaterError as error:
            return str(error)
        return None

    async def close(self) -> None:
        """See `PromptEncoder`."""
        await self._client.aclose()

    def _change_depth(self, change: int) -> None:
        self._num_items += change
        self._metrics.queued_items.inc(change)

    def _other_width(self, width: int) -> str:
        return f"the server's {self._model!r} gives vectors of width {width}, the bundle's encoder gives {self._width}"

    async def _request(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        waited = time.monotonic()
        async with self._slots:
            began = time.monotonic()
            content = await self._post(prompts)
        seconds = time.monotonic() - began
        record_part("queue", began - waited)
        record_part("encode", seconds)
        try:
            embeddings = read_answer(content, len(prompts))
        except ValueError as error:
            raise EncoderUnavailableError(f"the encoder's server answered with {error}") from None
        self._worked_at = time.monotonic()
        self._seconds_per_item += 0.2 * (seconds / len(prompts) - self._seconds_per_item)
        self._metrics.batch_items.observe(len(prompts))
        self._metrics.batch_tokens.observe(sum(embedding.tokens for embedding in embeddings))
        self._metrics.batch_seconds.observe(seconds)
        return embeddings

    async def _post(self, prompts: Sequence[str]) -> bytes:
        body = {"model": self._model, "input": list(prompts), "encoding_format": "base64"}
        try:
            response = await self._client.post(self._url, json=body)
        except httpx2.HTTPError as error:
            # Only the exception's type: its message may contain the URL, and with it a password.
            logger.warning("the encoder's server failed (%s)", type(error).__name__)
            raise EncoderUnavailableError(f"the encoder's server does not answer ({type(error).__name__})") from None
        if response.status_code != httpx2.codes.OK:
            logger.warning("the encoder's server answered %d", response.status_code)
            raise _refusal(response)
        return response.content


def _refusal(response: httpx2.Response) -> RetryLaterError:
    """Return the error for an unsuccessful answer, with the server's own Retry-After if it gives seconds."""
    stated = response.headers.get("Retry-After", "")
    seconds = min(_MAX_RETRY_SECONDS, max(1, int(stated))) if stated.isdecimal() and len(stated) < 10 else 1
    if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        return OverloadedError(f"the encoder's server is busy; try again in {seconds} s", seconds)
    return EncoderUnavailableError(f"the encoder's server answered {response.status_code}", seconds)


def _scale(bundle: Bundle, row: int, raw: Array) -> float | None:
    """Return the factor by which a raw embedding gives the item's stored semantic vector; None if there is none."""
    projection = bundle.space.projection
    linear = raw.astype(np.float64) @ projection.weight
    expected = bundle.semantic[row] - projection.bias
    if not _cosine(linear, expected) >= MIN_COSINE:
        return None
    return float(linear @ expected / (linear @ linear))


def _cosine(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))
