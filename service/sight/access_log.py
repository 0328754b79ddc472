"""One log line for each request; of its path, query, headers and body it has nothing."""

import logging

from service.sight.served_request import ServedRequest

PROBED_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at the level debug."""

logger = logging.getLogger(__name__)


def log_request(served: ServedRequest) -> None:
    """Log a request that is over."""
    level = logging.DEBUG if served.route in PROBED_ROUTES else logging.INFO
    if not logger.isEnabledFor(level):
        return
    milliseconds = round(served.seconds * 1000, 2)
    fields = {
        "method": served.method,
        "route": served.route,
        "status": served.status,
        "ms": milliseconds,
        "bytes": served.num_bytes,
        "key": served.key_name,
        "bundle_id": served.bundle_id,
    }
    logger.log(level, "%s %s %d %.2f ms", served.method, served.route, served.status, milliseconds, extra=fields)
