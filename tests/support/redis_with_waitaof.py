"""A real Redis that also knows WAITAOF, as 7.2 and later do: the command is answered here, all others are passed on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.redis_server import RedisServer

ON_DISK = b"*2\r\n:1\r\n:0\r\n"
NOT_IN_TIME = b"*2\r\n:0\r\n:0\r\n"
UNKNOWN = b"-ERR unknown command 'WAITAOF', with args beginning with: '1' '0' '3000'\r\n"
NO_FILE = b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"
NO_PERMISSION = b"-NOPERM this user has no permissions to run the 'waitaof' command\r\n"
UNBLOCKED = b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n"


@dataclass
class WaitAof:
    """How WAITAOF is answered, where, and how often it was asked."""

    url: str
    answer: bytes = ON_DISK
    asked: int = 0


@asynccontextmanager
async def redis_with_waitaof(server: RedisServer) -> AsyncIterator[WaitAof]:
    """Stand before `server` until the block ends."""
    state = WaitAof("")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            while True:
                request = await _read(reader)
                if b"\r\nWAITAOF\r\n" in request[:20]:
                    state.asked += 1
                    writer.write(state.answer)
                else:
                    redis_writer.write(request)
                    writer.write(await _read(redis_reader))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # either end has gone, or the test is over while the follower waits
        finally:
            writer.close()
            redis_writer.close()

    listening = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    state.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
    async with listening:
        yield state


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Read a request or an answer as it stands."""
    line = await reader.readuntil(b"\r\n")
    length = int(line[1:]) if line[:1] in (b"$", b"*") else -1
    if length < 0:
        return line
    if line[:1] == b"$":
        return line + await reader.readexactly(length + 2)
    return line + b"".join([await _read(reader) for _ in range(length)])
