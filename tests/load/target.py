"""Where a load may go: to this machine, or to the gateway of the compose file that the run is part of."""

import time
from urllib.parse import urlsplit

from llmemb.client import Client, ClientError

HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "gateway"})
READY_SECONDS = 120.0
"""How long a service that has just been started may take until it answers everything."""


class TargetRefusedError(Exception):
    """A load is not to be sent there."""


def check_target(url: str) -> str:
    """Return the URL without what is after its port.

    Raises:
        TargetRefusedError: it names another machine, or is no URL of HTTP.
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
        word: to search for; the full-text index of a new bundle is made in the background.

    Raises:
        ClientError: it did not come about.
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
