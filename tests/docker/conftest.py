"""Tests of the images and of docker-compose.yml: those that need an engine run by `make test-docker` alone."""

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.docker.compose import BUNDLE, Compose, seconds_until

SWITCH = "DOCKER_TESTS"
REPLICAS = 3


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "docker: needs a Docker engine with compose v2; run by `make test-docker`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a container engine unless they are requested."""
    if os.environ.get(SWITCH) != "1":
        for item in items:
            if item.get_closest_marker("docker") is not None:
                item.add_marker(pytest.mark.skip(reason="needs a Docker engine: make test-docker"))


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    """The demo's bundle behind the gateway, served by three replicas; tests leave all three running."""
    assert BUNDLE.is_dir(), "make demo-bundle makes the bundle that these tests serve"
    with Compose(f"llmemb-test-{uuid.uuid4().hex[:8]}", BUNDLE) as deployment:
        deployment.up(REPLICAS)
        yield deployment


@pytest.fixture
def whole(compose: Compose) -> Iterator[Compose]:
    """The deployment with all its replicas well, before and after."""

    def well() -> bool:
        replicas = compose.containers("service")
        return len(replicas) == REPLICAS and all(map(compose.is_healthy, replicas))

    seconds_until(well, "all replicas are well")
    yield compose
    seconds_until(well, "all replicas are well again")
