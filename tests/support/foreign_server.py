"""A server of embeddings that is not ours, and answers as a test tells it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ForeignServer:
    """What it answers, and what it was asked."""

    width: int = 4
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    """In place of embeddings."""
    gate: threading.Event = field(default_factory=threading.Event)
    """Closed, nothing is answered."""
    bodies: list[dict[str, object]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, texts: list[str]) -> bytes:
        """Embed a text as its length, in every direction; a word is a token."""
        if self.content is not None:
            return self.content
        data = [{"index": i, "embedding": [float(len(text))] * self.width} for i, text in enumerate(texts)]
        tokens = sum(len(text.split()) for text in texts)
        return json.dumps({"data": data, "usage": {"prompt_tokens": tokens}}).encode()


@contextmanager
def foreign_server() -> Iterator[ForeignServer]:
    """Serve until the block ends."""
    told = ForeignServer()
    told.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            told.bodies.append(body)
            told.authorizations.append(self.headers["authorization"])
            told.gate.wait()
            content = told.answer(body["input"])
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield told
        finally:
            told.gate.set()
            server.shutdown()
            thread.join()
