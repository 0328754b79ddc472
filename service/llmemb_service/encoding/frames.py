"""The protocol between the service and the encoder's worker process: messages and their frames.

A frame is two lengths, a JSON header and raw bytes: the vectors `(N, h)` of a finished job as float32, otherwise none.
"""

import asyncio
import socket
import struct
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_LENGTHS = struct.Struct("!II")


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Job(_Message):
    """From the service: embed these prompts."""

    kind: Literal["job"] = "job"
    id: int
    prompts: list[str]


class Cancel(_Message):
    """From the service: nothing waits for this job any more."""

    kind: Literal["cancel"] = "cancel"
    id: int


class Ready(_Message):
    """From the encoder: the LLM is loaded."""

    kind: Literal["ready"] = "ready"
    pid: int


class Refused(_Message):
    """From the encoder: the LLM cannot be loaded; the process ends."""

    kind: Literal["refused"] = "refused"
    reason: str


class BatchDone(_Message):
    """From the encoder: a batch is finished."""

    kind: Literal["batch"] = "batch"
    items: int
    tokens: int
    """Padding included."""
    seconds: float


class JobDone(_Message):
    """From the encoder: a job is finished. The frame contains its vectors."""

    kind: Literal["done"] = "done"
    id: int
    tokens: list[int]
    """Of each prompt."""
    queue_seconds: float
    """From arrival to the start of the first batch, without `tokenise_seconds`."""
    tokenise_seconds: float
    encode_seconds: float
    """From the start of the first batch to the end of the last."""


class JobFailed(_Message):
    """From the encoder: a job failed; the encoder's log has the details."""

    kind: Literal["failed"] = "failed"
    id: int
    error: str
    """Name of the exception, never its text, which may contain the prompt."""


ToEncoder = Job | Cancel
FromEncoder = Ready | Refused | BatchDone | JobDone | JobFailed
_TO_ENCODER: TypeAdapter[ToEncoder] = TypeAdapter(Annotated[ToEncoder, Field(discriminator="kind")])
_FROM_ENCODER: TypeAdapter[FromEncoder] = TypeAdapter(Annotated[FromEncoder, Field(discriminator="kind")])


def pack(message: ToEncoder | FromEncoder, payload: bytes = b"") -> bytes:
    """Return the frame of a message."""
    header = message.model_dump_json().encode()
    return b"".join((_LENGTHS.pack(len(header), len(payload)), header, payload))


async def read_from_encoder(reader: asyncio.StreamReader) -> tuple[FromEncoder, bytes]:
    """Read the next frame in the service.

    Raises:
        EOFError: the encoder has closed the connection.
        OSError: the connection is broken.
        ValueError: the data is not a valid frame.
    """
    header_bytes, payload_bytes = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    header = await reader.readexactly(header_bytes)
    return _FROM_ENCODER.validate_json(header), await reader.readexactly(payload_bytes)


def read_to_encoder(connection: socket.socket) -> ToEncoder:
    """Read the next frame in the encoder's process.

    Raises:
        EOFError: the service has closed the connection.
        OSError: the connection is broken.
        ValueError: the data is not a valid frame.
    """
    header_bytes, payload_bytes = _LENGTHS.unpack(_receive(connection, _LENGTHS.size))
    message = _TO_ENCODER.validate_json(_receive(connection, header_bytes))
    _receive(connection, payload_bytes)
    return message


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
