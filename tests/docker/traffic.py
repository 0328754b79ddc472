"""What people do while something breaks, and what of it was acknowledged."""

import uuid

from llmemb.client import Client, NotFoundError
from tests.support.load import Work
from tests.support.waiting import wait_until


class Traffic:
    """Kinds of requests for `Load`."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex[:8]
        self._items: list[str] = []
        self._sessions: list[str] = []
        self.works: dict[str, Work] = {
            "recommend": lambda client, number: client.recommend(["50", "172"], k=5),
            "look": lambda client, number: client.get_item("50"),
            "upload": self._upload,
            "click": self._click,
        }

    def _upload(self, client: Client, number: int) -> None:
        item = f"{self._mark}-{number}"
        # Fifty texts, so that most are in the cache: the test is of the log, not of the encoder.
        client.put_item(item, {"title": f"Film {number % 50}", "release_year": 2002, "genres": ["Drama"]})
        self._items.append(item)

    def _click(self, client: Client, number: int) -> None:
        session = f"{self._mark}-{number}"
        client.add_events(session, ["50"])
        self._sessions.append(session)

    def assert_kept(self, client: Client) -> None:
        """Everything that was acknowledged is there; a replica that was cut off may come to know of an item later."""
        assert self._items
        assert self._sessions
        for item in self._items:
            wait_until(lambda item=item: _is_there(client, item), f"the acknowledged item {item} is there")  # type: ignore[misc]
        for session in self._sessions:
            assert client.get_session(session).history == ["50"]


def _is_there(client: Client, item: str) -> bool:
    try:
        client.get_item(item)
    except NotFoundError:
        return False
    return True
