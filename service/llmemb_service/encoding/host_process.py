"""A fork server, as the service sees it: a process with the libraries imported, which forks workers and a standby."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from llmemb_service.encoding.worker import STANDBY, WORKER, WorkerOptions
from llmemb_service.settings import PREFIX


@dataclass(frozen=True, slots=True)
class Connection:
    """The socket to a worker, as a pair of streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        """Write `data`; do nothing if the connection is closing, which the reader reports.

        On a lost connection uvloop raises RuntimeError, while asyncio writes nothing.
        """
        if not self.writer.is_closing():
            self.writer.write(data)


class HostProcess:
    """A fork server, started by the service or forked from another fork server.

    Args:
        control: our end of the control socket; it is closed when the process dies.
        process: None if the process was forked, and so is not a child of the service.
    """

    def __init__(self, control: socket.socket, process: asyncio.subprocess.Process | None = None) -> None:
        control.setblocking(False)
        self._control = control
        self.process = process
        self.pid: int | None = None
        """None until the libraries are imported."""
        self.ended = asyncio.create_task(self._listen())
        """Done when the process has ended."""
        # Not earlier: a socket that the event loop still reads must not be closed.
        self.ended.add_done_callback(lambda _: control.close())

    @classmethod
    async def start(cls, options: WorkerOptions) -> "HostProcess":
        """Start a process, which first imports the libraries.

        Raises:
            OSError: the process cannot be started.
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
        """Fork a standby, which replaces the previous one; that one is killed.

        Raises:
            OSError: this process has died.
        """
        return HostProcess(self._request_fork(STANDBY))

    async def new_worker(self) -> Connection:
        """Fork a worker, which replaces the previous one; that one is killed.

        Raises:
            OSError: this process has died.
        """
        ours = self._request_fork(WORKER)
        try:
            ours.setblocking(False)
            return Connection(*await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            raise

    def _request_fork(self, kind: bytes) -> socket.socket:
        """Return our end of the socket that the forked process gets."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [kind], [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        return ours

    def end(self) -> None:
        """Kill the process."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        with suppress(ProcessLookupError):
            if self.process is not None:
                self.process.kill()
            elif self.pid is not None:
                os.kill(self.pid, signal.SIGKILL)

    async def _listen(self) -> None:
        # Not `process.wait`: it may also wait for the worker, which has the same standard error.
        with suppress(OSError):
            while data := await asyncio.get_running_loop().sock_recv(self._control, 16):
                self.pid = int(data)


def _command(options: WorkerOptions) -> list[str]:
    command = [sys.executable, "-m", "llmemb_service.encoding.worker", "--folder", str(options.folder)]
    command += ["--device", options.device, "--batch-tokens", str(options.batch_tokens)]
    command += ["--engine", options.engine, f"--beginning={options.beginning}"]
    if options.threads is not None:
        command += ["--threads", str(options.threads)]
    return command if options.nice is None else [*command, "--nice", str(options.nice)]


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process: without our settings, which contain secrets, and offline."""
    inherited = {name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)}
    # Waiting threads sleep instead of spinning, since they share the cores with the service. No thread may exist before
    # a fork, so numpy gets one; the tokenizers' threads would start before the worker lowers its priority.
    fixed = {"HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {"OMP_WAIT_POLICY": "passive"} | inherited | fixed
