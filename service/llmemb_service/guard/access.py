"""Access rules: one table from method and path to the required role."""

import ipaddress
import logging
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from llmemb_service.guard.keys import Role
from llmemb_service.settings import Settings


class Open(StrEnum):
    """Access without a particular role."""

    ANYONE = "anyone"
    ANY_KEY = "any key"


Access = Role | Open

_READ = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Rule:
    """The access to a path and all paths below it, but `/` only matches itself. `methods` None matches every method."""

    path: str
    access: Access
    methods: Collection[str] | None = None

    def matches(self, method: str, path: str) -> bool:
        """Return whether the rule applies to a request."""
        if self.methods is not None and method not in self.methods:
            return False
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


RULES = (
    Rule("/healthz", Open.ANYONE),
    Rule("/readyz", Open.ANYONE),
    Rule("/metrics", Open.ANYONE),
    Rule("/docs", Open.ANYONE),
    Rule("/playground", Open.ANYONE),
    Rule("/", Open.ANYONE),
    Rule("/openapi.json", Open.ANYONE),
    Rule("/info", Open.ANY_KEY),
    Rule("/recommend", Role.RECOMMEND),
    Rule("/sessions", Role.RECOMMEND),
    Rule("/map", Role.RECOMMEND),
    Rule("/items", Role.RECOMMEND, methods=_READ),
    Rule("/items", Role.EMBED),
    Rule("/embed_items", Role.EMBED),
    Rule("/v1", Role.EMBED),
    Rule("/admin", Role.ADMIN),
    Rule("/report", Role.ADMIN),
)
"""The first match applies. Other paths need the role admin, so a route that was forgotten here is not open."""

UNLIMITED_PATHS = ("/healthz", "/readyz", "/metrics")
"""Used by probes and monitoring, which must never be refused."""


def rule_for(method: str, path: str) -> Rule | None:
    """Return the rule for a request, or None if there is none."""
    return next((rule for rule in RULES if rule.matches(method, path)), None)


def needed_access(method: str, path: str) -> Access:
    """Return the access that a request needs."""
    rule = rule_for(method, path)
    return Role.ADMIN if rule is None else rule.access


def allows(roles: Collection[Role], access: Access) -> bool:
    """Return whether a key with `roles` has `access`."""
    return isinstance(access, Open) or access in roles or Role.ADMIN in roles


logger = logging.getLogger(__name__)


def warn_if_open(settings: Settings) -> None:
    """Warn at the start if other machines can connect and no API keys are set."""
    if settings.api_keys_file is None and not _is_loopback(settings.host):
        logger.warning(
            "the service listens on %s without API keys, so anyone can use it; see LLMEMB_API_KEYS_FILE", settings.host
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
