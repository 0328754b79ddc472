"""What the guard adds to the OpenAPI description of every operation: who may call it, and how it refuses.

API keys are the operator's choice, so the description says that they may be needed.
"""

from typing import Any

from service.guard.access import UNLIMITED_PATHS, Open, needed_access
from service.guard.key_middleware import KEY_HEADER

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer KEY`."},
    "api_key": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "The same key in a header."},
}
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}, {}]


def add_security(description: dict[str, Any]) -> None:
    """Add the schemes, and name for each operation those that it takes."""
    description["components"]["securitySchemes"] = _SCHEMES
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            access = needed_access(method.upper(), path)
            operation["security"] = [] if access is Open.ANYONE else _SECURITY


def refusals(method: str, path: str, has_body: bool) -> list[str]:
    """Return the codes of the problems by which the guard may refuse an operation."""
    codes = []
    access = needed_access(method.upper(), path)
    if access is not Open.ANYONE:
        codes.append("unauthorized")
    if access is not Open.ANYONE and access is not Open.ANY_KEY:
        codes.append("forbidden")
    if has_body:
        codes.append("body_timeout")
    if path not in UNLIMITED_PATHS:
        codes.append("rate_limited")
    return codes
