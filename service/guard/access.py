"""Who may do what: the one table from method and path to the role that is needed."""

import ipaddress
import logging
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from service.guard.keys import Role
from service.settings import Settings


class Open(StrEnum):
    """What is needed besides a role."""

    ANYONE = "anyone"
    ANY_KEY = "any key"


Access = Role | Open

_READ = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds for a path and all below it, for `/` alone; `methods` None means every one."""

    path: str
    access: Access
    methods: Collection[str] | None = None

    def matches(self, method: str, path: str) -> bool:
        """Say whether the rule is about this request."""
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
"""The first that matches decides. What is not in the table is for admins: a route that was forgotten stays shut."""

UNLIMITED_PATHS = ("/healthz", "/readyz", "/metrics")
"""Asked by machines that must never be refused."""


def rule_for(method: str, path: str) -> Rule | None:
    """Return the rule for a request, or None where the table has none."""
    return next((rule for rule in RULES if rule.matches(method, path)), None)


def needed_access(method: str, path: str) -> Access:
    """Return what a request needs."""
    rule = rule_for(method, path)
    return Role.ADMIN if rule is None else rule.access


def allows(roles: Collection[Role], access: Access) -> bool:
    """Say whether a key with `roles` may do what needs `access`."""
    return isinstance(access, Open) or access in roles or Role.ADMIN in roles


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
