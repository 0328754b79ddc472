"""What the faults share: one process that forks the services."""

from collections.abc import Iterator

import pytest

from tests.support.forked_service import ServiceForks


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceForks]:
    with ServiceForks(tmp_path_factory.mktemp("faults")) as forks:
        yield forks
