"""Headers: a request's as they came, and those by which every answer tells a browser what it may do."""

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.types import Scope

Header = tuple[bytes, bytes]


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of that name, None where there is none.

    Args:
        scope: of the request; its names are in lower case, as ASGI has it.
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
"""For a page that is made of files from here and asks nobody else."""
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
    """Return an answer's headers, and ours that are not among them; a page that needs another policy sets its own.

    Args:
        headers: names in lower case, as ASGI has it.
    """
    given = list(headers)
    there = {name for name, _ in given}
    if there.isdisjoint(_NAMES):
        return given + _HEADERS
    if b"etag" in there and b"cache-control" not in there:
        # A file, which may be kept; nothing else may. Another version of the service may have another one.
        there.add(b"cache-control")
        given.append((b"cache-control", _ASK_AGAIN.encode()))
    return given + [header for header in _HEADERS if header[0] not in there]


def page_policy(html: str) -> str:
    """Return the policy under which a page of ours works: files from here, and the scripts that stand in `html`."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()) for script in _INLINE_SCRIPT.findall(html))
    scripts = " ".join(f"'sha256-{digest.decode()}'" for digest in hashes)
    # Swagger UI sets styles from its script and draws from data: addresses.
    return (
        f"{_NOTHING}; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'"
    )
