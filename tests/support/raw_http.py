"""HTTP as it goes over the wire, for clients that do not keep to it."""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from tests.support.waiting import DEADLINE_SECONDS

Result = TypeVar("Result")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer; the names of its headers in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def head(method: str, path: str, **headers: object) -> bytes:
    """Write the head of a request; a header's name has underscores for its hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: service"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path: str, content: object) -> bytes:
    """Write a whole request with a body of JSON."""
    body = json.dumps(content).encode()
    return head("POST", path, Content_Type="application/json", Content_Length=len(body)) + body


async def connect(url: str, **how: int) -> Streams:
    """Open a connection; `how` as `asyncio.open_connection` has it."""
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port, **how)


async def read_answer(reader: asyncio.StreamReader) -> RawAnswer | None:
    """Read one answer with a length; None where the connection ends before it."""
    try:
        start = await _in_time(reader.readuntil(b"\r\n\r\n"))
        first, *lines = start.decode().rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await _in_time(reader.readexactly(int(headers["content-length"])))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return RawAnswer(int(first.split()[1]), headers, body)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side has closed the connection, in whatever way."""
    parts = []
    try:
        while part := await _in_time(reader.read(65536)):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


async def ask(url: str, request: bytes) -> RawAnswer | None:
    """Send a whole request over a connection of its own."""
    reader, writer = await connect(url)
    try:
        writer.write(request)
        return await read_answer(reader)
    finally:
        writer.close()


async def drip(writer: asyncio.StreamWriter, content: bytes, pause_seconds: float) -> None:
    """Send byte by byte, until all is sent or the other side has closed the connection."""
    try:
        for place in range(len(content)):
            writer.write(content[place : place + 1])
            await writer.drain()
            await asyncio.sleep(pause_seconds)
    except ConnectionError:
        pass


async def _in_time(work: Awaitable[Result]) -> Result:
    return await asyncio.wait_for(work, DEADLINE_SECONDS)
