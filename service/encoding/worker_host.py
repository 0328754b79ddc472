"""What forks the encoder's workers, as the service keeps it: a process, and a spare one that takes its place."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from service.encoding.host_process import Connection, HostProcess
from service.encoding.worker import WorkerOptions

END_SECONDS = 10.0
"""How long the processes may take to end."""
PAUSE_SECONDS = 0.2
"""Before a process that died is replaced where no worker is wanted: it may die each time."""

logger = logging.getLogger(__name__)


class WorkerHost:
    """Keeps `service.encoding.worker` running and has it start workers.

    When the process dies its worker goes on, and its spare, which it forked when it had imported the libraries, is
    there for the next worker. Only where both died another process must import them.

    Args:
        options: what workers are started with.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._host: HostProcess | None = None
        self._spare: HostProcess | None = None
        self._watches: set[asyncio.Task[None]] = set()
        self._logs: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    async def new_worker(self) -> Connection:
        """Have a worker started, in place of the one before, which is killed; its first message comes when it is ready.

        Raises:
            OSError: no process can be started, or it dies at once.
        """
        async with self._changing:
            while self._host is not None:
                try:
                    return await self._host.new_worker()
                except OSError:  # it has died
                    self._replace()
            return await (await self._start()).new_worker()

    async def kill(self) -> None:
        """End the process at once; the next worker gets another."""
        async with self._changing:
            self._replace()

    async def close(self) -> None:
        """End the processes for good; a worker ends with its connection."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        async with self._changing:
            processes = [process for process in (self._host, self._spare) if process is not None]
            self._host = self._spare = None
            for process in processes:
                process.end()
            await asyncio.gather(*[process.ended for process in processes])
        # A log ends with the last process that writes to it.
        if self._logs:
            await asyncio.wait(self._logs, timeout=END_SECONDS)
        for log in self._logs:
            log.cancel()

    async def _start(self) -> HostProcess:
        self._host = await HostProcess.start(self._options)
        assert self._host.process is not None
        _keep(self._logs, _pass_on(self._host.process))
        _keep(self._watches, self._watch(self._host))
        self._fork_spare()
        return self._host

    def _fork_spare(self) -> None:
        if self._host is not None:
            with suppress(OSError):  # it has died, and the watch over it knows what to do
                self._spare = self._host.fork()
                _keep(self._watches, self._watch(self._spare))

    def _replace(self) -> None:
        """End the process and put its spare in its place; if that has died, its watch or who asks it next will see."""
        if self._host is not None:
            self._host.end()
        self._host, self._spare = self._spare, None
        self._fork_spare()

    async def _watch(self, process: HostProcess) -> None:
        """Put another in the place of a process that died."""
        await asyncio.wait([process.ended])
        await asyncio.sleep(PAUSE_SECONDS)
        async with self._changing:
            if process is self._spare:
                self._spare = None
                self._fork_spare()
            elif process is self._host:
                logger.warning("the process that starts encoders has ended; another takes its place")
                self._replace()
                if self._host is None:
                    await self._start()


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _pass_on(process: asyncio.subprocess.Process) -> None:
    """Let the lines of the processes' log come out in ours, until all that were forked have ended too."""
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
