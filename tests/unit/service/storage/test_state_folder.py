from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb_service.storage.state_folder import own_state_folder


def test_state_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    """A second one is refused by name; after the first has gone it may have the folder."""
    folder = tmp_path / "new" / "state"
    with own_state_folder(folder), pytest.raises(ConfigError, match=f"another process uses {folder}"):
        own_state_folder(folder).__enter__()

    with own_state_folder(folder) as owned:
        assert owned == folder


def test_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="LLMEMB_STATE_DIR"), own_state_folder(tmp_path / "file"):
        pass
