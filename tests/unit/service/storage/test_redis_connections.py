"""Connections to Redis: a password in a file, and a Redis that goes away."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import redis.exceptions
import uvloop
from pydantic import SecretStr

from llmemb.errors import ConfigError
from llmemb_service.settings import Settings
from llmemb_service.storage.redis.connections import connect
from tests.support.redis_server import RedisServer


def settings(url: str, password_file: Path | None = None) -> Settings:
    """Settings of a Redis whose password, if any, is in a file."""
    return Settings(bundle=Path("bundle"), redis_url=SecretStr(url), redis_password_file=password_file)


def test_password_is_read_from_its_file(tmp_path: Path) -> None:
    """The line's end that an editor leaves behind the password is no part of it."""
    secret = tmp_path / "password"
    secret.write_text("hunter2\n", encoding="utf-8")

    async def ping(server: RedisServer) -> bool:
        async with connect(settings(server.url, secret), timeout_seconds=10) as redis:
            return bool(await redis.ping())

    with RedisServer() as server:
        with server.client() as redis:
            redis.config_set("requirepass", "hunter2")
        assert asyncio.run(ping(server))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"], ids=["missing", "empty", "blank", "not UTF-8"])
def test_password_file_that_cannot_be_used_is_refused(content: bytes | None, tmp_path: Path) -> None:
    """By the variable's name."""
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigError, match="LLMEMB_REDIS_PASSWORD_FILE"):
        connect(settings("redis://localhost", secret))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_writes_to_a_lost_connection_fail_as_such(run: Callable[[Coroutine[object, object, None]], None]) -> None:
    """On uvloop too, which raises RuntimeError itself once it knows that the connection is lost."""

    async def write_on(server: RedisServer) -> None:
        async with connect(settings(server.url), timeout_seconds=10) as client:
            connection = await client.connection_pool.get_connection()
            # What is left unread resets the connection.
            server.pause()
            await connection.send_command("PING")
            server.stop()
            await asyncio.sleep(0.1)
            with pytest.raises(redis.exceptions.ConnectionError):
                await connection.send_command("PING")
            await client.connection_pool.release(connection)

    with RedisServer() as server:
        run(write_on(server))
