"""Cursors of `GET /items`: where a page ended, as a text that only the list it came from takes back."""

import base64
import hashlib
import json

from service.catalogue.search.search_file import START, Position
from service.errors import Fault, InvalidRequestError

_CHECK_BYTES = 9


def encode_cursor(position: Position, bundle_id: str, query: str | None) -> str:
    """Write where a page of a list ended: letters, digits, `-` and `_`."""
    content = json.dumps([position.score, position.place]).encode()
    return base64.urlsafe_b64encode(_check(content, bundle_id, query) + content).decode().rstrip("=")


def decode_cursor(cursor: str | None, bundle_id: str, query: str | None) -> Position:
    """Read what `encode_cursor` wrote for the same bundle and query; None is the start of the list.

    Raises:
        InvalidRequestError: it is another text, or of another list.
    """
    if cursor is None:
        return START
    try:
        data = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except ValueError:
        data = b""
    check, content = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if not content or check != _check(content, bundle_id, query):
        message = "is no cursor of this list; a cursor goes with the query and the bundle that it came from"
        raise InvalidRequestError([Fault(("query", "cursor"), message, "invalid_cursor")])
    score, place = json.loads(content)
    return Position(float(score), int(place))


def _check(content: bytes, bundle_id: str, query: str | None) -> bytes:
    """Hash it with the list's name: against mistakes, not against malice, which a position gives nothing to."""
    name = json.dumps([bundle_id, query]).encode()
    return hashlib.blake2b(content, digest_size=_CHECK_BYTES, key=hashlib.sha256(name).digest()).digest()
