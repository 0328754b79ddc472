import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from llmemb_service.encoding.remote import RemoteEncoder
from llmemb_service.errors import EncoderUnavailableError, OverloadedError, RetryLaterError
from llmemb_service.observability.metrics import Metrics
from tests.support.foreign_server import ForeignServer, foreign_server

KEY = "sk-very-secret"


@asynccontextmanager
async def remote_encoder(
    server: ForeignServer, *, timeout_seconds: float = 60.0, max_items: int = 200
) -> AsyncIterator[RemoteEncoder]:
    encoder = RemoteEncoder(
        server.url,
        model="a-model",
        api_key=SecretStr(KEY),
        width=server.width,
        max_items=max_items,
        timeout_seconds=timeout_seconds,
        metrics=Metrics(),
    )
    try:
        yield encoder
    finally:
        await encoder.close()


def test_remote_encoder_asks_in_bounded_requests_and_keeps_the_order() -> None:
    """No request has more texts than every server takes; the key and the model are sent."""

    async def check() -> None:
        with foreign_server() as server:
            async with remote_encoder(server) as encoder:
                found = await encoder.encode(["a" * (i + 1) for i in range(100)])
                assert await encoder.encode([]) == []

            assert [embedding.vector.tolist() for embedding in found] == [[i + 1.0] * 4 for i in range(100)]
            assert [embedding.tokens for embedding in found] == [1] * 100
            assert sorted(len(body["input"]) for body in server.bodies) == [4, 32, 32, 32]  # type: ignore[arg-type]
            assert {body["model"] for body in server.bodies} == {"a-model"}
            assert set(server.authorizations) == {f"Bearer {KEY}"}

    asyncio.run(check())


@pytest.mark.parametrize(
    ("status", "stated", "error", "seconds"),
    [
        (429, "7", OverloadedError, 7),
        (429, "soon", OverloadedError, 1),
        (503, "3", EncoderUnavailableError, 3),
        (503, "99999999999999", EncoderUnavailableError, 1),
        (500, "4000", EncoderUnavailableError, 60),
        (401, "", EncoderUnavailableError, 1),
    ],
)
def test_remote_encoder_passes_on_when_to_come_again(
    status: int, stated: str, error: type[RetryLaterError], seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    """429 and the rest, by the server's own Retry-After where that is of use; neither key nor text is logged."""
    caplog.set_level(logging.DEBUG)

    async def check() -> None:
        with foreign_server() as server:
            server.status, server.headers = status, {"retry-after": stated}
            async with remote_encoder(server) as encoder:
                with pytest.raises(error) as refused:
                    await encoder.encode(["a secret text"] * 40)
                assert refused.value.retry_after_seconds == seconds
                assert await encoder.fault() is not None

    asyncio.run(check())
    assert KEY not in caplog.text
    assert "http://" not in caplog.text
    assert "a secret text" not in caplog.text


@pytest.mark.parametrize("content", [b"busy", b'{"data": []}', b'{"data": [{"index": 0, "embedding": [1.0]}]}'])
def test_remote_encoder_takes_no_answer_that_does_not_fit(content: bytes) -> None:
    """No embeddings, too few, or of another width."""

    async def check() -> None:
        with foreign_server() as server:
            server.content = content
            async with remote_encoder(server) as encoder:
                with pytest.raises(EncoderUnavailableError):
                    await encoder.encode(["a"])

    asyncio.run(check())


def test_remote_encoder_waits_no_longer_than_it_may_and_recovers() -> None:
    """A server that hangs, or is not there, is one that does not answer."""

    async def check() -> None:
        with foreign_server() as server:
            async with remote_encoder(server, timeout_seconds=0.2) as encoder:
                server.gate.clear()
                with pytest.raises(EncoderUnavailableError, match="ReadTimeout"):
                    await encoder.encode(["a"])
                server.gate.set()
                assert await encoder.fault() is None
            async with remote_encoder(server) as late:
                pass
        async with remote_encoder(server) as late:
            with pytest.raises(EncoderUnavailableError, match="ConnectError"):
                await late.encode(["a"])

    asyncio.run(check())


def test_remote_encoder_is_bounded_and_frees_places() -> None:
    """What one caller has taken comes back when it leaves."""

    async def check() -> None:
        with foreign_server() as server:
            async with remote_encoder(server, max_items=3) as encoder:
                server.gate.clear()
                leaving = asyncio.create_task(encoder.encode(["a", "b", "c"]))
                await asyncio.sleep(0)
                with pytest.raises(OverloadedError):
                    await encoder.encode(["d"])
                leaving.cancel()
                await asyncio.wait([leaving])
                server.gate.set()

                assert len(await encoder.encode(["d", "e", "f"])) == 3

    asyncio.run(check())
