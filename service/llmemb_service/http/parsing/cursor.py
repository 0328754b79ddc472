"""Cursors of `GET /items`: the position where a page ended, as a text that is only valid for the same list."""

import base64
import hashlib
import json

from llmemb_service.catalogue.search.search_file import START, Position
from llmemb_service.errors import Fault, InvalidRequestError

_CHECK_BYTES = 9


def encode_cursor(position: Position, bundle_id: str, query: str | None) -> str:
    """Encode the position where a page ended, as letters, digits, `-` and `_`."""
    content = json.dumps([position.score, position.place]).encode()
    return base64.urlsafe_b64encode(_check(content, bundle_id, query) + content).decode().rstrip("=")


def decode_cursor(cursor: str | None, bundle_id: str, query: str | None) -> Position:
    """Decode a result of `encode_cursor` for the same bundle and query; None is the start of the list.

    Raises:
        InvalidRequestError: the text is not a cursor, or is a cursor of another list.
    """
    if cursor is None:
        return START
    try:
        data = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except ValueError:
        data = b""
    check, content = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if not content or check != _check(content, bundle_id, query):
        message = "is not a cursor of this list; a cursor is only valid with the query and the bundle of its page"
        raise InvalidRequestError([Fault(("query", "cursor"), message, "invalid_cursor")])
    score, place = json.loads(content)
    return Position(float(score), int(place))


def _check(content: bytes, bundle_id: str, query: str | None) -> bytes:
    """Hash the position with the list's name. This detects mistakes; a forged position would do no harm."""
    name = json.dumps([bundle_id, query]).encode()
    return hashlib.blake2b(content, digest_size=_CHECK_BYTES, key=hashlib.sha256(name).digest()).digest()
