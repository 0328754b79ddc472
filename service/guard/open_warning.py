"""The warning of a service that anybody may use."""

import ipaddress
import logging

from service.settings import Settings

logger = logging.getLogger(__name__)


def warn_if_open(settings: Settings) -> None:
    """Warn, once at the start, when others can reach the service and no API key is asked for."""
    if settings.api_keys_file is None and not _is_loopback(settings.host):
        logger.warning(
            "everybody who reaches %s may use the service: no API keys are set, see LLMEMB_API_KEYS_FILE", settings.host
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
