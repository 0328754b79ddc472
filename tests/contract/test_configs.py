"""The configurations that come with the project."""

from pathlib import Path

import pytest

from llmemb_training.config import load_config

FOLDER = Path(__file__).parents[2] / "training" / "llmemb_training" / "config"
CONFIGS = sorted(FOLDER.rglob("*.toml"))


def test_every_file_of_the_folder_is_tested() -> None:
    """The search finds configurations, and beside them the folder holds modules alone."""
    assert len(CONFIGS) > 0
    assert {path.suffix for path in FOLDER.iterdir() if path.is_file()} == {".py", ".toml"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_configuration_loads(path: Path) -> None:
    """Every key and value is known, and no value depends on one machine."""
    config = load_config(path)

    assert not Path(config.prepare.path).is_absolute()
    assert not Path(config.encoder.base).is_absolute()
