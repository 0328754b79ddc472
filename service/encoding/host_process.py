"""One process of `service.encoding.worker`: it has imported the libraries, and forks workers and its own like."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from service.encoding.worker import SPARE, WORKER, WorkerOptions
from service.settings import PREFIX


@dataclass(frozen=True, slots=True)
class Connection:
    """The two ends of what a worker says and hears."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        """Write, but nothing where the worker is gone: its reader is about to tell.

        Of a connection that is lost uvloop raises RuntimeError, where asyncio writes nothing.
        """
        if not self.writer.is_closing():
            self.writer.write(data)


class HostProcess:
    """A process, started or forked from another.

    Args:
        control: our end of the socket on which it is asked; its death ends the socket.
        process: None where it was forked, and is no child of ours.
    """

    def __init__(self, control: socket.socket, process: asyncio.subprocess.Process | None = None) -> None:
        control.setblocking(False)
        self._control = control
        self.process = process
        self.pid: int | None = None
        """Known when the libraries are imported."""
        self.ended = asyncio.create_task(self._listen())
        """Done when it has ended."""
        # Not sooner: a loop must not lose a socket that it reads.
        self.ended.add_done_callback(lambda _: control.close())

    @classmethod
    async def start(cls, options: WorkerOptions) -> "HostProcess":
        """Start one, which imports the libraries first.

        Raises:
            OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *_command(options),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=_environment(os.environ),
                )
            except BaseException:
                ours.close()
                raise
        return cls(ours, process)

    def fork(self) -> "HostProcess":
        """Have it fork its like, in place of the one before, which is killed.

        Raises:
            OSError: it has died.
        """
        return HostProcess(self._ask(SPARE))

    async def new_worker(self) -> Connection:
        """Have it fork a worker, in place of the one before, which is killed.

        Raises:
            OSError: it has died.
        """
        ours = self._ask(WORKER)
        try:
            ours.setblocking(False)
            return Connection(*await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            raise

    def _ask(self, kind: bytes) -> socket.socket:
        """Return our end of the socket that it hands to what it forks."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [kind], [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        return ours

    def end(self) -> None:
        """End it at once."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        with suppress(ProcessLookupError):
            if self.process is not None:
                self.process.kill()
            elif self.pid is not None:
                os.kill(self.pid, signal.SIGKILL)

    async def _listen(self) -> None:
        # Not `process.wait`, which may also wait for the worker, since that has the same standard error.
        with suppress(OSError):
            while said := await asyncio.get_running_loop().sock_recv(self._control, 16):
                self.pid = int(said)


def _command(options: WorkerOptions) -> list[str]:
    command = [sys.executable, "-m", "service.encoding.worker", "--folder", str(options.folder)]
    command += ["--device", options.device, "--batch-tokens", str(options.batch_tokens)]
    command += ["--engine", options.engine, f"--beginning={options.beginning}"]
    if options.threads is not None:
        command += ["--threads", str(options.threads)]
    return command if options.nice is None else [*command, "--nice", str(options.nice)]


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the process gets: none of our settings, which hold secrets, and no look at the network."""
    kept = {name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)}
    # Threads that wait must sleep: a service that keeps its cores busy shares them. numpy needs none before a fork, and
    # the tokenizers' would be started before the worker lowers its priority.
    own = {"HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {"OMP_WAIT_POLICY": "passive"} | kept | own
