"""`llmemb backup`: where it writes."""

from pathlib import Path

import pytest

from llmemb.errors import ConfigError, LlmembError
from llmemb_service.backup.cli import backup


def test_folder_with_a_slash_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a file of that name would be written, and not what was meant."""
    monkeypatch.setenv("LLMEMB_STATE_DIR", str(tmp_path / "nothing"))
    with pytest.raises(LlmembError, match="holds no state of a service"):
        backup(["--out", f"{tmp_path}/deep/backups/"])

    assert (tmp_path / "deep" / "backups").is_dir()


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """In one sentence, before anything is read."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"--out .*/file/backups/: Not a directory"):
        backup(["--out", f"{tmp_path}/file/backups/"])
