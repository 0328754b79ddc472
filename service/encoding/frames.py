"""What the service and the encoder's process say to each other over a socket, and how it is framed.

A frame is two lengths, a header in JSON and raw bytes: the vectors `(N, h)` of a finished job, as float32, else none.
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
    """The service asks: embed these prompts."""

    kind: Literal["job"] = "job"
    id: int
    prompts: list[str]


class Cancel(_Message):
    """The service says: nobody waits for this job any more."""

    kind: Literal["cancel"] = "cancel"
    id: int


class Ready(_Message):
    """The encoder says: the LLM is loaded."""

    kind: Literal["ready"] = "ready"
    pid: int


class Refused(_Message):
    """The encoder says: the LLM cannot be loaded; the process ends."""

    kind: Literal["refused"] = "refused"
    reason: str


class BatchDone(_Message):
    """The encoder says: a batch went through."""

    kind: Literal["batch"] = "batch"
    items: int
    tokens: int
    """With padding."""
    seconds: float


class JobDone(_Message):
    """The encoder says: a job is finished. The frame carries its vectors."""

    kind: Literal["done"] = "done"
    id: int
    tokens: list[int]
    """Of each prompt."""
    queue_seconds: float
    """From its arrival to its first batch, less the next."""
    tokenise_seconds: float
    encode_seconds: float
    """From its first batch to the end of its last."""


class JobFailed(_Message):
    """The encoder says: a job could not be done; its log says more."""

    kind: Literal["failed"] = "failed"
    id: int
    error: str
    """Name of the exception, never its text, which may hold the prompt."""


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
        EOFError: the encoder has gone.
        OSError: the same.
        ValueError: it is no frame.
    """
    header_bytes, payload_bytes = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    header = await reader.readexactly(header_bytes)
    return _FROM_ENCODER.validate_json(header), await reader.readexactly(payload_bytes)


def read_to_encoder(connection: socket.socket) -> ToEncoder:
    """Read the next frame in the encoder's process.

    Raises:
        EOFError: the service has gone.
        OSError: the same.
        ValueError: it is no frame.
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
