"""The service under load: started here, or one of this machine or of the same compose file."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from llmemb.client import Client, ClientError

HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "gateway"})
READY_SECONDS = 120.0
"""How long a service that was just started may take until it answers everything."""
_END_SECONDS = 60.0


class TargetRefusedError(Exception):
    """No load may be sent to this URL."""


def check_target(url: str) -> str:
    """Return the URL without what follows its port.

    Raises:
        TargetRefusedError: it names another machine, or is not an HTTP URL.
    """
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError as error:
        raise TargetRefusedError(f"{url} is no URL: {error}") from error
    if address.scheme != "http" or address.hostname not in HOSTS or "@" in address.netloc:
        raise TargetRefusedError(f"{url}: a load goes to http:// and {', '.join(sorted(HOSTS))} only")
    host = f"[{address.hostname}]" if ":" in address.hostname else address.hostname
    return f"http://{host}:{port or 80}"


def wait_until_ready(client: Client, word: str) -> str:
    """Wait until the service recommends and searches; return the id of its bundle.

    Args:
        client: of the service.
        word: to search for; the full-text index of a new bundle is built in the background.

    Raises:
        ClientError: it was not ready after `READY_SECONDS`.
    """
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            client.item_page(query=word, limit=1)
            return client.ready().bundle_id
        except ClientError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextmanager
def local_service(bundle: Path, log: Path) -> Iterator[str]:
    """Serve a bundle on a free port with an empty state folder while the block runs; yields the URL.

    Args:
        bundle: its folder.
        log: takes the standard error of the service.

    Raises:
        RuntimeError: it did not start; the log says why.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state, log.open("w", encoding="utf-8") as errors:
        environment = os.environ | {"LLMEMB_STATE_DIR": state, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("LLMEMB_LOG_LEVEL", "warning")  # a line for each request would cost processor time
        with announced_server(serve_command(bundle), environment, errors) as (url, _):
            yield url


def serve_command(bundle: Path) -> list[str]:
    """Return the command that serves a bundle on a free port of this machine."""
    return [sys.executable, "-m", "llmemb", "serve", "--bundle", str(bundle), "--host", "127.0.0.1", "--port", "0"]


@contextmanager
def announced_server(
    command: Sequence[str], environment: Mapping[str, str], errors: IO[str] | None = None
) -> Iterator[tuple[str, int]]:
    """Run a server that prints `serving on URL` while the block runs; yields the URL and the process id.

    Args:
        command: starts it.
        environment: of the process.
        errors: takes its standard error; None: it goes to that of this process.

    Raises:
        RuntimeError: it ended before it printed the line.
    """
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout is not None
        try:
            url = next((line.split()[2] for line in process.stdout if line.startswith("serving on ")), None)
            if url is None:
                where = "" if errors is None else f"; see {errors.name}"
                raise RuntimeError(f"the server did not start: {' '.join(command)}{where}")
            yield url, process.pid
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
