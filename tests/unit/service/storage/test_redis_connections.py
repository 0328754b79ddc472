"""Connections to a Redis that asks for a password, which lies in a file."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from llmemb.errors import ConfigError
from service.settings import Settings
from service.storage.redis_connections import connect
from tests.support.redis_server import RedisServer


def settings(url: str, password_file: Path) -> Settings:
    """Settings of a Redis whose password lies in a file."""
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
