"""An answer's head goes out with the beginning of its body."""

import asyncio


class WholeAnswer:
    """Stands before a connection while one request is answered, and holds the head back until something follows it.

    ASGI asks a server to, and uvicorn does not: it sends head and body by a call of the system each, and the first
    wakes a client that finds no more than the head. Here is what uvicorn's `RequestResponseCycle` asks of a connection.

    Args:
        transport: the connection.
    """

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or hold back what is the head."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines((head, data))
        elif self._begun or data.startswith(b"HTTP/1.1 100 "):
            self._transport.write(data)
        else:
            self._begun = True
            self._head = data

    def is_closing(self) -> bool:
        """Say whether the connection closes."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection when all is sent."""
        if self._head is not None:
            self.write(b"")
        self._transport.close()
