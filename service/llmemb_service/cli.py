"""`llmemb serve` and `llmemb openapi`.

The app is imported only after the arguments and settings are validated, because it imports torch, which takes seconds.
"""

import argparse
import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop

from llmemb.errors import ConfigError
from llmemb_service import lasting_memory
from llmemb_service.guard.access import warn_if_open
from llmemb_service.observability.logs import configure_logging
from llmemb_service.settings import Settings, load_settings, log_ignored_variables


def serve(arguments: list[str]) -> None:
    """Serve a bundle over HTTP until a signal stops the process.

    Raises:
        LlmembError: the service cannot start.
    """
    parser = argparse.ArgumentParser(
        prog="llmemb serve",
        description="Serve a bundle over HTTP. Settings are read from LLMEMB_* variables, see docs/settings.md; "
        "these options override them.",
    )
    parser.add_argument("--bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--report", type=Path, help="the trainer's report on the bundle, shown at /report")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 picks a free one")
    settings = load_settings(vars(parser.parse_args(arguments)))
    configure_logging(settings.log_format, settings.log_level)
    log_ignored_variables()
    warn_if_open(settings)
    uvloop.run(_serve(settings))


def openapi(arguments: list[str]) -> None:
    """Print the OpenAPI description; it needs no bundle."""
    parser = argparse.ArgumentParser(prog="llmemb openapi", description="Print the service's OpenAPI description.")
    parser.parse_args(arguments)
    from llmemb_service.app import create_app

    print(json.dumps(create_app(load_settings({"bundle": Path()})).openapi(), indent=2, ensure_ascii=False))


_BACKLOG = 2048
"""Maximum number of connections that wait to be accepted; the default of uvicorn."""
_LISTENING_DESCRIPTORS = 32
"""Duplicates of the listening socket. uvloop accepts one connection per descriptor in each iteration of its loop
(libuv/libuv#3696). Under load an iteration is long, and with one descriptor new clients would wait for seconds."""


class _Server(uvicorn.Server):
    """Leaves signals to `_stop_on_signals`: uvicorn's handler would end the process before the engine is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings) -> None:
    # Bind the port first, since it fails fast. It does not listen before everything is loaded.
    with _bind(settings.host, settings.port) as listener:
        from llmemb_service.app import create_app
        from llmemb_service.http.middleware.stack import with_concurrency_limit
        from llmemb_service.http.transport.connection import connections

        app = create_app(settings)
        # uvicorn's lifespan handling would replace our errors by a traceback and its own exit code.
        async with app.router.lifespan_context(app):
            server = _Server(
                uvicorn.Config(
                    with_concurrency_limit(app, settings, app.state.metrics),
                    http=connections(settings),
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    # Only rate limits need the client's address, and they use service/llmemb_service/client_address.py.
                    proxy_headers=False,
                    timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
                )
            )
            _stop_on_signals(server)
            lasting_memory.freeze()
            listener.listen(_BACKLOG)  # before the line below, after which clients expect to connect
            host, port = listener.getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            print(f"serving on http://{address}:{port} (playground at /, API at /docs)", flush=True)
            sockets = [listener, *(listener.dup() for _ in range(_LISTENING_DESCRIPTORS - 1))]
            await _serve_unless_start_fails(server, sockets, app.state.runtime.versions.started)


async def _serve_unless_start_fails(
    server: uvicorn.Server, sockets: list[socket.socket], started: asyncio.Future[None]
) -> None:
    """Serve while the encoder starts; if its start fails, stop and raise the error."""
    serving = asyncio.create_task(server.serve(sockets=sockets))
    await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
    failure = started.exception() if started.done() else None
    server.should_exit = server.should_exit or failure is not None
    await serving
    if failure is not None:
        raise failure


def _bind(host: str, port: int) -> socket.socket:
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Stop gracefully on SIGTERM or SIGINT, after the running requests; a second signal stops at once."""

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
