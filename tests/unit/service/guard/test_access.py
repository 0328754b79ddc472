"""The table of roles covers every route of the service."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

from llmemb_service.app import create_app
from llmemb_service.guard.access import Access, Open, allows, needed_access, rule_for
from llmemb_service.guard.keys import Role
from llmemb_service.settings import Settings


def methods_and_paths(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Every method with its whole path; a mount takes what it likes."""
    for context in iter_route_contexts(routes):
        assert context.path is not None
        yield from ((method, context.path) for method in context.methods or {"GET"})


def test_every_route_is_in_the_table() -> None:
    """A route missing from the table would be for admins only, and this test fails for it."""
    app = create_app(Settings(bundle=Path()))
    asked = sorted(methods_and_paths(app.routes))

    assert len(asked) > 10
    assert [each for each in asked if rule_for(*each) is None] == []


@pytest.mark.parametrize(
    ("method", "path", "access"),
    [
        ("GET", "/healthz", Open.ANYONE),
        ("GET", "/readyz", Open.ANYONE),
        ("GET", "/metrics", Open.ANYONE),
        ("GET", "/docs", Open.ANYONE),
        ("GET", "/docs/assets/swagger-ui.css", Open.ANYONE),
        ("GET", "/openapi.json", Open.ANYONE),
        ("GET", "/", Open.ANYONE),
        ("GET", "/playground/app.js", Open.ANYONE),
        ("GET", "/map", Role.RECOMMEND),
        ("GET", "/info", Open.ANY_KEY),
        ("POST", "/recommend", Role.RECOMMEND),
        ("POST", "/recommend/batch", Role.RECOMMEND),
        ("POST", "/sessions/s/events", Role.RECOMMEND),
        ("DELETE", "/sessions/s", Role.RECOMMEND),
        ("GET", "/items", Role.RECOMMEND),
        ("HEAD", "/items/1", Role.RECOMMEND),
        ("GET", "/items/1/similar", Role.RECOMMEND),
        ("PUT", "/items/1", Role.EMBED),
        ("PATCH", "/items/1", Role.EMBED),
        ("DELETE", "/items/1", Role.EMBED),
        ("POST", "/embed_items", Role.EMBED),
        ("POST", "/v1/embeddings", Role.EMBED),
        ("POST", "/admin/bundles", Role.ADMIN),
        ("POST", "/admin/rollback", Role.ADMIN),
        ("GET", "/report", Role.ADMIN),
        ("GET", "/nowhere", Role.ADMIN),
        ("GET", "/healthzz", Role.ADMIN),
        ("GET", "/recommendations", Role.ADMIN),
        ("GET", "//healthz", Role.ADMIN),
        ("GET", "/DOCS", Role.ADMIN),
    ],
)
def test_access_that_a_request_needs(method: str, path: str, access: Access) -> None:
    """As the documentation says; a route that is not in the table is for admins."""
    assert needed_access(method, path) == access


def test_admins_may_do_everything_and_others_what_their_roles_say() -> None:
    """A key may have several roles."""
    assert all(allows([Role.ADMIN], access) for access in (*Role, Open.ANY_KEY))
    assert allows([Role.EMBED, Role.RECOMMEND], Role.RECOMMEND)
    assert allows([Role.EMBED], Open.ANY_KEY)
    assert not allows([Role.EMBED], Role.RECOMMEND)
    assert not allows([Role.EMBED, Role.RECOMMEND], Role.ADMIN)
