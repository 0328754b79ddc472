"""Where a load may go."""

import pytest

from tests.load.target import TargetRefusedError, check_target


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://[::1]:9/docs", "http://[::1]:9"),
        ("http://gateway", "http://gateway:80"),
    ],
)
def test_this_machine_and_the_gateway_pass(url: str, checked: str) -> None:
    """Everything after the port is left out."""
    assert check_target(url) == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.1.example.com:80",
        "http://127.0.0.1@example.com",
        "http://somebody@127.0.0.1",
        "http://10.0.0.1:8000",
        "http://127.0.0.1:port",
        "ftp://127.0.0.1",
        "127.0.0.1:8000",
        "",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    """Another machine, or what only looks like this one."""
    with pytest.raises(TargetRefusedError):
        check_target(url)
