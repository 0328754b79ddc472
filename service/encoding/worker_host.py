"""The encoder's process as the service sees it: started, asked for workers, listened to, ended."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from service.encoding.worker import WorkerOptions
from service.settings import PREFIX

END_SECONDS = 10.0
"""How long the processes may take to end."""
PAUSE_SECONDS = 0.2
"""Before a process that died is started again where no worker is wanted: it may die each time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """The two ends of what a worker says and hears."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class WorkerHost:
    """Keeps `service.encoding.worker` running and has it start workers.

    When the process dies its worker goes on, and a new process is there for the next worker.

    Args:
        options: what workers are started with.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._watches: set[asyncio.Task[None]] = set()
        self._logs: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process, None where it does not run."""
        return None if self._process is None else self._process.pid

    async def new_worker(self) -> Connection:
        """Have a worker started, in place of the one before, which is killed; its first message comes when it is ready.

        Raises:
            OSError: the process cannot be started, or dies at once.
        """
        async with self._changing:
            if self._process is None:
                await self._start()
            try:
                return await self._connect()
            except OSError:  # the process has died
                self._end()
                await self._start()
                return await self._connect()

    async def kill(self) -> None:
        """End the process at once; the next worker gets a new one."""
        async with self._changing:
            self._end()

    async def close(self) -> None:
        """End the process for good; a worker ends with its connection."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        async with self._changing:
            self._end()
        # A log ends with the last process that writes to it.
        if self._logs:
            await asyncio.wait(self._logs, timeout=END_SECONDS)
        for log in self._logs:
            log.cancel()

    async def _connect(self) -> Connection:
        assert self._control is not None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"w"], [theirs.fileno()])
            ours.setblocking(False)
            return Connection(*await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            raise

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *_command(self._options),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=_environment(os.environ),
                    # A Ctrl-C at the terminal is for the service, which finishes its requests first.
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._control = ours
        _keep(self._logs, _pass_on(self._process))
        _keep(self._watches, self._watch(self._process, ours))

    def _end(self) -> None:
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()

    async def _watch(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        """Start a process in place of one that died."""
        # Not `process.wait`, which may also wait for the worker, since that has the same standard error.
        with suppress(OSError):
            await asyncio.get_running_loop().sock_recv(control, 1)
        await asyncio.sleep(PAUSE_SECONDS)
        async with self._changing:
            if self._process is process:
                logger.warning("the process that starts encoders has ended; it is started again")
                self._end()
                await self._start()


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _command(options: WorkerOptions) -> list[str]:
    command = [sys.executable, "-m", "service.encoding.worker", "--folder", str(options.folder)]
    command += ["--device", options.device, "--nice", str(options.nice), "--batch-tokens", str(options.batch_tokens)]
    return command if options.threads is None else [*command, "--threads", str(options.threads)]


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the process gets: none of our settings, which hold secrets, and no look at the network."""
    kept = {name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)}
    # Threads that wait must sleep: a service that keeps its cores busy shares them. numpy needs none before a fork.
    return {"OMP_WAIT_POLICY": "passive"} | kept | {"HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"}


async def _pass_on(process: asyncio.subprocess.Process) -> None:
    """Let the lines of the process' log come out in ours, until it has ended and its worker too."""
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
