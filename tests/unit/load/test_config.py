"""The configuration of a load: the one of the repository is valid, and each number has a maximum."""

from pathlib import Path

import pytest

import tests.load.config
from tests.load.config import read_config

OURS = Path(tests.load.config.__file__).with_name("load.toml")


def test_ours_is_valid() -> None:
    """`make load` reads it."""
    assert read_config(OURS).overload.factor == 10


@pytest.mark.parametrize(
    ("text", "past"),
    [
        ("requests = 100_000", "requests = 1_000_000_000"),
        ("seconds = 150", "seconds = 100_000"),
        ("shoppers = 20", "shoppers = 100_000"),
        ("factor = 10", "factor = 1_000"),
        ("failed_share = 0", "failed_share = 2"),
        ("[mixed]", "[mixed]\nunheard_of = 1"),
    ],
)
def test_past_a_bound_is_refused(text: str, past: str, tmp_path: Path) -> None:
    """A number over its maximum and an unknown name are refused."""
    assert text in OURS.read_text()
    (tmp_path / "load.toml").write_text(OURS.read_text().replace(text, past, 1))

    with pytest.raises(ValueError, match="validation error"):
        read_config(tmp_path / "load.toml")
