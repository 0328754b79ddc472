"""A request's headers as they came, without an object around them."""

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
