"""An answer whose JSON is written already."""

from starlette.responses import Response

JSON = "application/json"
_TYPE = (b"content-type", JSON.encode())


class JsonResponse(Response):
    """What `Response(body, media_type=JSON)` would be, made in a quarter of the time."""

    media_type = JSON

    def __init__(self, body: bytes) -> None:  # not Starlette's own, which goes through headers that are not there
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _TYPE]
