"""The encoder's fork server and its workers: `python -m llmemb_service.encoding.worker`, started by `WorkerHost`.

Importing the libraries takes many times longer than loading the LLM. So the process that the service starts is a fork
server: it imports the libraries and forks a worker for each connection that the service sends. A worker that died is
replaced in the time that loading takes. The fork server loads no model, because no thread and no device may be in use
when a process forks.

It also forks a standby with the same libraries, which takes over when the fork server dies: a fork takes a few
milliseconds and shares the memory, an import takes seconds and hundreds of megabytes.

A worker lives as long as its connection and a standby as long as its control socket, even if the process that forked
them dies. Standard input is the control socket; everything printed goes to standard error.
"""

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmemb.cpus import usable_cpus
from llmemb.encoder.engines.engine import EngineName
from llmemb.errors import EncoderError
from llmemb_service.encoding.batching import Batcher, LanguageModel
from llmemb_service.encoding.frames import FromEncoder, Job, Ready, Refused, pack, read_to_encoder

FALLBACK_NICE = 10
"""The nice level if none is set and the system has no idle scheduling class."""
WORKER = b"w"
"""Command: fork a worker for the connection sent with it."""
STANDBY = b"s"
"""Command: fork a standby that reads commands from the socket sent with it."""

logger = logging.getLogger("encoder")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker runs.

    `threads` None: one per core; `beginning`: the common prefix of most prompts; `nice` None: the idle class.
    """

    folder: Path
    device: str
    engine: EngineName
    beginning: str
    threads: int | None
    nice: int | None
    batch_tokens: int


def main(arguments: list[str]) -> None:
    """Import the libraries, then fork on command."""
    options = _parse(arguments)
    # Ctrl-C in the terminal is for the service, which finishes its requests first. A new session would be wrong: Linux
    # may divide processor time between sessions (autogroup), and then priorities only count within one.
    os.setpgid(0, 0)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    control = _claim_standard_input()
    _import_libraries(options.folder)
    # The collector skips existing objects from now on, so that forked processes keep sharing their pages.
    gc.freeze()
    _run_commands(control, options)


def _run_commands(control: socket.socket, options: WorkerOptions) -> None:
    """Keep one worker and one standby, each for its newest socket, until the service ends.

    A forked standby continues this loop with its own control socket.
    """
    _send_pid(control)
    forked: dict[bytes, int] = {}
    while (command := _next_command(control)) is not None:
        kind, connection = command
        _kill(forked.pop(kind, None))
        process = os.fork()
        if process:
            connection.close()
            forked[kind] = process
            continue
        control.close()
        if kind == WORKER:
            _work(connection, options)
        control, forked = connection, {}
        _send_pid(control)
    for process in forked.values():
        _kill(process)


def _parse(arguments: list[str]) -> WorkerOptions:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--beginning", required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--nice", type=int)
    parser.add_argument("--batch-tokens", type=int, required=True)
    return WorkerOptions(**vars(parser.parse_args(arguments)))


def _claim_standard_input() -> socket.socket:
    """Return the socket behind descriptor 0; redirect descriptors 0 and 1, so that no library can use the socket."""
    # uvloop leaves a second descriptor of the socket open. Forked processes would inherit it and keep the socket open.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return control


def _import_libraries(folder: Path) -> None:
    """Import everything a worker needs, including the module of the LLM's architecture."""
    from transformers import MODEL_MAPPING, AutoConfig

    import llmemb.encoder.encoder  # noqa: F401

    try:
        MODEL_MAPPING[type(AutoConfig.from_pretrained(folder))]
    except (OSError, ValueError, LookupError):
        logger.debug("the LLM's module is not imported in advance: cannot read %s", folder)


def _send_pid(control: socket.socket) -> None:
    with suppress(OSError):  # the service has ended
        control.send(b"%d" % os.getpid())


def _next_command(control: socket.socket) -> tuple[bytes, socket.socket] | None:
    """Wait for a command and its socket; return None when the service has ended."""
    try:
        kind, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    except ConnectionResetError:  # the service ended without reading the pid
        return None
    return (kind, socket.socket(fileno=descriptors[0])) if descriptors else None


def _kill(process: int | None) -> None:
    """Kill a forked process that is being replaced, and wait until it has ended."""
    if process is not None:
        os.kill(process, signal.SIGKILL)  # the pid is still our child's: nothing has waited for it
        os.waitpid(process, 0)


def _work(connection: socket.socket, options: WorkerOptions) -> None:
    """Serve one connection until it ends; never returns."""

    def send(message: FromEncoder, payload: bytes) -> None:
        connection.sendall(pack(message, payload))

    batcher = Batcher(batch_tokens=options.batch_tokens, send=send)
    try:
        threading.Thread(target=_read, args=(connection, batcher), daemon=True).start()
        model = _load(options, send)
        if model is not None:
            send(Ready(pid=os.getpid()), b"")
            batcher.run(model)
    except OSError:
        logger.debug("the service has closed the connection")
    except BaseException:
        logger.exception("the encoder has failed")
    finally:
        # A normal exit of the interpreter would wait for threads and run exit handlers registered before the fork.
        sys.stderr.flush()
        os._exit(0)


def _load(options: WorkerOptions, send: Callable[[FromEncoder, bytes], None]) -> LanguageModel | None:
    """Load the LLM and lower the priority; if it cannot be loaded, report that to the service and return None."""
    import torch

    from llmemb.encoder.encoder import Encoder

    # Priority belongs to a thread and is inherited by the threads it starts. It is lowered after loading, so that a
    # new worker is ready quickly; torch's threads must start after that.
    torch.set_num_threads(1)
    try:
        encoder = Encoder.load(options.folder, options.device, options.engine)
        encoder.expect(options.beginning)
    except EncoderError as error:
        send(Refused(reason=str(error)), b"")
        return None
    except (RuntimeError, AssertionError) as error:  # torch raises these for a missing device
        send(Refused(reason=f"LLMEMB_DEVICE: the encoder cannot run on {options.device}: {error}"), b"")
        return None
    _lower_priority(options.nice)
    torch.set_num_threads(options.threads or usable_cpus())
    return encoder


def _lower_priority(nice: int | None) -> None:
    """Lower the priority of this thread and of the threads that it starts from now on.

    In the idle scheduling class a thread yields its core as soon as another process wakes up. At a nice level it first
    finishes its time slice of some milliseconds, and a recommendation would wait for several of those.
    """
    if nice is None and hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(FALLBACK_NICE if nice is None else nice)


def _read(connection: socket.socket, batcher: Batcher) -> None:
    """Read the service's messages; when the connection closes, end the process immediately, even during a batch."""
    try:
        while True:
            message = read_to_encoder(connection)
            if isinstance(message, Job):
                batcher.submit(message)
            else:
                batcher.cancel(message.id)
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
