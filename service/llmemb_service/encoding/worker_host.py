"""Supervision of the encoder's fork server and of its standby."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from llmemb_service.encoding.host_process import Connection, HostProcess
from llmemb_service.encoding.worker import WorkerOptions

END_SECONDS = 10.0
"""How long to wait for the processes to end."""
PAUSE_SECONDS = 0.2
"""Pause before a dead fork server is replaced while no worker is needed: it may die repeatedly."""

logger = logging.getLogger(__name__)


class WorkerHost:
    """Keeps the fork server `llmemb_service.encoding.worker` running, and starts workers with it.

    When the fork server dies its worker continues, and its standby, forked after the libraries were imported, starts
    the next worker. The libraries are imported again only if both died.

    Args:
        options: of the workers.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._host: HostProcess | None = None
        self._standby: HostProcess | None = None
        self._watches: set[asyncio.Task[None]] = set()
        self._logs: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    async def new_worker(self) -> Connection:
        """Start a worker, which replaces the previous one; that one is killed. It sends `Ready` or `Refused` first.

        Raises:
            OSError: no process can be started, or it dies immediately.
        """
        async with self._changing:
            while self._host is not None:
                try:
                    return await self._host.new_worker()
                except OSError:  # it has died
                    self._replace()
            return await (await self._start()).new_worker()

    async def kill(self) -> None:
        """Kill the fork server; another one starts the next worker."""
        async with self._changing:
            self._replace()

    async def close(self) -> None:
        """End both processes; a worker ends with its connection."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        async with self._changing:
            processes = [process for process in (self._host, self._standby) if process is not None]
            self._host = self._standby = None
            for process in processes:
                process.end()
            await asyncio.gather(*[process.ended for process in processes])
        # A log stream ends when the last process that writes to it has ended.
        if self._logs:
            await asyncio.wait(self._logs, timeout=END_SECONDS)
        for log in self._logs:
            log.cancel()

    async def _start(self) -> HostProcess:
        self._host = await HostProcess.start(self._options)
        assert self._host.process is not None
        _start_task(self._logs, _forward_log(self._host.process))
        _start_task(self._watches, self._watch(self._host))
        self._fork_standby()
        return self._host

    def _fork_standby(self) -> None:
        if self._host is not None:
            with suppress(OSError):  # the fork server has died; its watch task replaces it
                self._standby = self._host.fork()
                _start_task(self._watches, self._watch(self._standby))

    def _replace(self) -> None:
        """End the fork server and promote its standby; a dead standby is detected by its watch or the next request."""
        if self._host is not None:
            self._host.end()
        self._host, self._standby = self._standby, None
        self._fork_standby()

    async def _watch(self, process: HostProcess) -> None:
        """Replace a process after it dies."""
        await asyncio.wait([process.ended])
        await asyncio.sleep(PAUSE_SECONDS)
        async with self._changing:
            if process is self._standby:
                self._standby = None
                self._fork_standby()
            elif process is self._host:
                logger.warning("the process that starts encoders has ended; it is replaced")
                self._replace()
                if self._host is None:
                    await self._start()


def _start_task(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _forward_log(process: asyncio.subprocess.Process) -> None:
    """Write the process's standard error to our log, until it and all processes forked from it have ended."""
    assert process.stderr is not None
    while line := await _line(process.stderr):
        logger.warning("the encoder's process: %s", line.decode(errors="replace").rstrip())
    await process.wait()


async def _line(stderr: asyncio.StreamReader) -> bytes:
    try:
        return await stderr.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:  # a line longer than the reader holds: in parts
        return await stderr.read(max(1, overrun.consumed))
