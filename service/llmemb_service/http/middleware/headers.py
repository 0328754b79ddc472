"""Headers: read those of a request, and add the security headers to every answer."""

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.types import Scope

Header = tuple[bytes, bytes]


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header with this name, or None.

    Args:
        scope: of the request; ASGI has its header names in lower case.
        name: in lower case.
    """
    for each, value in scope["headers"]:
        if each == name:
            text: str = value.decode("latin-1")
            return text
    return None


POLICY_HEADER = "Content-Security-Policy"

_NO_STORE = "no-store"
_ASK_AGAIN = "no-cache"
_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
FILES_POLICY = f"{_NOTHING}; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
"""For a page that only uses files and endpoints of this service."""
_HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        POLICY_HEADER: _NOTHING,
        "Cache-Control": _NO_STORE,
    }.items()
]
_NAMES = {b"etag", *(name for name, _ in _HEADERS)}
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def with_security_headers(headers: Iterable[Header]) -> list[Header]:
    """Add the security headers that are missing; a page that needs another policy sets its own header.

    Args:
        headers: of the answer, with names in lower case.
    """
    given = list(headers)
    there = {name for name, _ in given}
    if there.isdisjoint(_NAMES):
        return given + _HEADERS
    if b"etag" in there and b"cache-control" not in there:
        # Only files have an ETag and may be cached. They must be revalidated, since a new version may change them.
        there.add(b"cache-control")
        given.append((b"cache-control", _ASK_AGAIN.encode()))
    return given + [header for header in _HEADERS if header[0] not in there]


def page_policy(html: str) -> str:
    """Return the policy for a page of the service: its own files, and the inline scripts of `html`."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()) for script in _INLINE_SCRIPT.findall(html))
    scripts = " ".join(f"'sha256-{digest.decode()}'" for digest in hashes)
    # Swagger UI sets inline styles and uses images from data: URLs.
    return (
        f"{_NOTHING}; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'"
    )
