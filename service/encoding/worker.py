"""The encoder's process: `python -m service.encoding.worker`, started by `WorkerHost`.

To import the libraries takes many times longer than to load the LLM. So the process that the service starts only
imports them, and forks a worker for each connection that the service hands to it: a worker that died is replaced in the
time of the loading. It loads nothing itself, since no thread and no device may be in use where a process forks.

It also forks a spare, which has the libraries from it and goes on in its place when it dies: a fork takes a few
milliseconds and shares the memory, where an import takes seconds and hundreds of megabytes.

A worker lives as long as its connection and a spare as long as its socket, whatever becomes of what forked them.
Standard input is the socket on which orders come; what anybody prints goes to standard error.
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

from llmemb.encoder.engines.engine import EngineName
from llmemb.errors import EncoderError
from service.encoding.batching import Batcher, LanguageModel
from service.encoding.frames import FromEncoder, Job, Ready, Refused, pack, read_to_encoder

FALLBACK_NICE = 10
"""The nice level where none is set and there is no idle class."""
WORKER = b"w"
"""An order: fork a worker for the connection that comes with it."""
SPARE = b"s"
"""An order: fork a process that takes its orders from the socket that comes with it."""

logger = logging.getLogger("encoder")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker runs.

    `threads` None: one for each core; `beginning`: the text that most prompts begin with; `nice` None: the idle class.
    """

    folder: Path
    device: str
    engine: EngineName
    beginning: str
    threads: int | None
    nice: int | None
    batch_tokens: int


def main(arguments: list[str]) -> None:
    """Import the libraries, then fork what is asked for."""
    options = _parse(arguments)
    # A Ctrl-C at the terminal is for the service, which finishes its requests first. No session of its own: Linux may
    # share the processor out among sessions first (autogroup), and priorities count within one.
    os.setpgid(0, 0)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    control = _take_standard_input()
    _import_libraries(options.folder)
    # What exists by now is left out of collections, so that what is forked shares its pages.
    gc.freeze()
    _take_orders(control, options)


def _take_orders(control: socket.socket, options: WorkerOptions) -> None:
    """Keep one worker and one spare, each for the newest socket, until the service has gone; a spare goes on here."""
    _say_pid(control)
    forked: dict[bytes, int] = {}
    while (order := _next_order(control)) is not None:
        kind, connection = order
        _end(forked.pop(kind, None))
        process = os.fork()
        if process:
            connection.close()
            forked[kind] = process
            continue
        control.close()
        if kind == WORKER:
            _work(connection, options)
        control, forked = connection, {}
        _say_pid(control)
    for process in forked.values():
        _end(process)


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


def _take_standard_input() -> socket.socket:
    """Return the socket behind descriptor 0, and leave nothing behind 0 and 1 that a library could disturb."""
    # uvloop leaves a second descriptor of it open. What is forked would keep that, and the socket would outlive us.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return control


def _import_libraries(folder: Path) -> None:
    """Import all that a worker will need, the LLM's own module included."""
    from transformers import MODEL_MAPPING, AutoConfig

    import llmemb.encoder.encoder  # noqa: F401

    try:
        MODEL_MAPPING[type(AutoConfig.from_pretrained(folder))]
    except (OSError, ValueError, LookupError):
        logger.debug("the worker will say what is wrong with %s", folder)


def _say_pid(control: socket.socket) -> None:
    with suppress(OSError):  # the service has gone
        control.send(b"%d" % os.getpid())


def _next_order(control: socket.socket) -> tuple[bytes, socket.socket] | None:
    """Wait for an order and its socket; None when the service has gone."""
    try:
        kind, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    except ConnectionResetError:  # it had not read the pid
        return None
    return (kind, socket.socket(fileno=descriptors[0])) if descriptors else None


def _end(process: int | None) -> None:
    """Kill what was forked and the service has given up, and wait for its end."""
    if process is not None:
        os.kill(process, signal.SIGKILL)  # still ours, if only as a zombie
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
        logger.debug("the service has gone")
    except BaseException:
        logger.exception("the encoder has failed")
    finally:
        # Not the interpreter's own end: it would wait for threads, and run what was registered before the fork.
        sys.stderr.flush()
        os._exit(0)


def _load(options: WorkerOptions, send: Callable[[FromEncoder, bytes], None]) -> LanguageModel | None:
    """Load the LLM and step back behind other processes; None, said to the service, where it cannot be loaded."""
    import torch

    from llmemb.encoder.encoder import Encoder

    # A priority is one thread's, inherited by those it starts: torch's must start after it is lowered, and it is
    # lowered after loading, so that a new worker is there quickly.
    torch.set_num_threads(1)
    try:
        encoder = Encoder.load(options.folder, options.device, options.engine)
        encoder.expect(options.beginning)
    except EncoderError as error:
        send(Refused(reason=str(error)), b"")
        return None
    except (RuntimeError, AssertionError) as error:  # how torch says that a device is missing
        send(Refused(reason=f"LLMEMB_DEVICE: the encoder cannot run on {options.device}: {error}"), b"")
        return None
    _lower_priority(options.nice)
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    return encoder


def _lower_priority(nice: int | None) -> None:
    """Lower this thread's priority, and so that of the threads that it starts from now on.

    In the idle class it gives a core up at once when another process wakes up; at a nice level it finishes its slice of
    some milliseconds first, which a recommendation would wait for several times.
    """
    if nice is None and hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(FALLBACK_NICE if nice is None else nice)


def _read(connection: socket.socket, batcher: Batcher) -> None:
    """Take the service's messages until it has gone, and end the process then, whatever it is doing."""
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
