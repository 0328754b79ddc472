"""What the guard adds to the OpenAPI description of every operation: who may call it, and how it refuses.

API keys are the operator's choice, so the description says that they may be needed.
"""

from typing import Any

from service.guard.access import UNLIMITED_PATHS, Open, needed_access
from service.guard.key_middleware import KEY_HEADER
from service.guard.rate_middleware import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer KEY`."},
    "api_key": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "The same key in a header."},
}
_HEADERS = {
    LIMIT_HEADER: "Requests a minute that the caller may send.",
    REMAINING_HEADER: "Requests that would be answered now.",
    RESET_HEADER: "Seconds until the whole limit is there again; of a `rate_limited` answer, those of `Retry-After`.",
}
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}, {}]


def add_security(description: dict[str, Any]) -> None:
    """Add the schemes, and name for each operation those that it takes."""
    description["components"]["securitySchemes"] = _SCHEMES
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            access = needed_access(method.upper(), path)
            operation["security"] = [] if access is Open.ANYONE else _SECURITY


def add_rate_limit_headers(description: dict[str, Any]) -> None:
    """Add the headers of the rate limit to successes and 429; to name every other error would triple the text."""
    description["components"]["headers"] = {
        name: {
            "description": f"{text} Sent with each answer where requests are limited.",
            "schema": {"type": "integer"},
        }
        for name, text in _HEADERS.items()
    }
    for path, methods in description["paths"].items():
        if path in UNLIMITED_PATHS:
            continue
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status.startswith("2") or status == "429":
                    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
                    response["headers"] = response.get("headers", {}) | headers


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
