import asyncio
import socket
from collections.abc import Callable, Coroutine

import pytest
import uvloop

from llmemb_service.encoding.host_process import Connection


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_is_sent_to_a_dead_worker_goes_nowhere_and_its_reader_tells(
    run: Callable[[Coroutine[None, None, None]], None],
) -> None:
    """Requests go on for a moment before the reader's task has its turn: they must not fail by the writing."""

    async def send_on() -> None:
        ours, theirs = socket.socketpair()
        connection = Connection(*await asyncio.open_connection(sock=ours))
        theirs.close()
        for _ in range(3):
            connection.send(b"a job")
            await asyncio.sleep(0)
        with pytest.raises((EOFError, OSError)):
            await connection.reader.readexactly(1)
        connection.send(b"another")

    run(send_on())
