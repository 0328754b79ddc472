"""The two walks in docs/architecture.md: one request enters the files that its drawing names, and no others."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx2
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from llmemb_service.app import create_app
from llmemb_service.http.middleware.stack import with_concurrency_limit
from llmemb_service.http.transport.connection import connections
from tests.docs.page import Block, blocks_of
from tests.support.service import HEAT, make_settings
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGE = "docs/architecture.md"
PACKAGES = (ROOT / "llmemb", ROOT / "service" / "llmemb_service", ROOT / "training" / "llmemb_training")
REQUESTS = 3
"""How often a walk is taken: a file that a timer or another thread enters now and then is not entered by each."""
RECOMMEND = "POST /recommend"
EMBED_ITEMS = "POST /embed_items"


@dataclass
class Trace:
    """Records the files of this repository whose functions are called, in the threads started while it is installed."""

    on: bool = False
    files: set[str] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Record a call, as `sys.setprofile` has it."""
        if self.on and event == "call":
            path = Path(frame.f_code.co_filename)
            self.files.update(
                path.relative_to(folder.parent).as_posix() for folder in PACKAGES if path.is_relative_to(folder)
            )


@dataclass
class TracedService:
    """A service whose threads are traced."""

    url: str
    trace: Trace
    over: threading.Event
    """Set when a request is over, its log line and metrics included."""

    def files_of(self, path: str, body: Mapping[str, object], drawn: set[str]) -> set[str]:
        """Return the files that a request enters; waits for threads that finish after the answer."""
        self.over.clear()
        self.trace.files = set()
        self.trace.on = True
        answer = httpx2.post(self.url + path, json=body, timeout=None)
        self.over.wait()
        assert answer.status_code == 200, answer.text
        wait_until(lambda: drawn <= self.trace.files, f"{path} enters {sorted(drawn - self.trace.files)}")
        self.trace.on = False
        return self.trace.files


@contextmanager
def traced_service(bundle: Path, state_dir: Path) -> Iterator[TracedService]:
    """Serve as `llmemb serve` does, with an encoder process of its own."""
    settings = make_settings(bundle, state_dir, encoder_url=None)
    app = create_app(settings)
    admission = with_concurrency_limit(app, settings, app.state.metrics)
    over = threading.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await admission(scope, receive, send)
        over.set()

    trace = Trace()
    threading.setprofile(trace)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(answer, http=connections(settings), log_config=None, access_log=False, server_header=False)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while thread.is_alive() and not (server.started and app.state.runtime.versions.started.done()):
                time.sleep(0.01)  # without a deadline: on a busy machine an encoder starts in minutes
            yield TracedService(f"http://127.0.0.1:{listener.getsockname()[1]}", trace, over)
        finally:
            server.should_exit = True
            thread.join()
            threading.setprofile(None)


def drawing_of(request: str) -> Block:
    """Return the drawing of a walk: the block that begins with the request."""
    [drawing] = [
        block for block in blocks_of(PAGE, (ROOT / PAGE).read_text(encoding="utf-8")) if block.text.startswith(request)
    ]
    return drawing


def files_in(drawing: str) -> list[str]:
    """Return the files that a drawing names, in its order."""
    return re.findall(rf"(?:{'|'.join(folder.name for folder in PACKAGES)})/[\w/]+\.py", drawing)


def files_stated(request: str) -> int:
    """Return the number of files that the page states for a walk."""
    [stated] = re.findall(rf"`{request}`[^.]* enters (\d+) files", (ROOT / PAGE).read_text(encoding="utf-8"))
    return int(stated)


@pytest.fixture(scope="module")
def service(full_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedService]:
    """A service with all that a bundle can have."""
    with traced_service(full_bundle, tmp_path_factory.mktemp("walks")) as service:
        yield service


def recommend_body(_number: int) -> Mapping[str, object]:
    """Return a body of `/recommend`."""
    return {"history": ["1", "2"], "k": 10}


def embed_items_body(number: int) -> Mapping[str, object]:
    """Return a body of `/embed_items` with an item that no other number has, so that the cache does not hold it."""
    title = f"{HEAT['title']} {number}"
    return {"items": [{"id": f"heat-{number}", "attributes": {**HEAT, "title": title}}], "index": True}


@pytest.mark.parametrize(("request_line", "body"), [(RECOMMEND, recommend_body), (EMBED_ITEMS, embed_items_body)])
def test_a_request_enters_the_files_of_its_drawing(
    service: TracedService, request_line: str, body: Callable[[int], Mapping[str, object]]
) -> None:
    """The files entered between the socket and the answer are those of the drawing, each named once."""
    drawn = files_in(drawing_of(request_line).text)
    path = request_line.removeprefix("POST ")

    entered = set.intersection(*(service.files_of(path, body(number), set(drawn)) for number in range(REQUESTS)))

    assert sorted(drawn) == sorted(entered)


@pytest.mark.parametrize("request_line", [RECOMMEND, EMBED_ITEMS])
def test_a_drawing_names_as_many_files_as_the_page_states(request_line: str) -> None:
    """A walk that gets longer or shorter changes the number beside its drawing."""
    assert len(files_in(drawing_of(request_line).text)) == files_stated(request_line)
