"""`llmemb.files`: whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from llmemb.files import new_folder, sha256_of_file, write_text_atomically


def tree(folder: Path) -> dict[str, str]:
    """Every file under a folder, temporary ones too, with its text."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)) * 5000])
def test_hash_is_sha256_of_the_bytes(tmp_path: Path, content: bytes) -> None:
    """The hash of a file is that of its bytes, whatever their number."""
    (tmp_path / "file").write_bytes(content)

    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_new_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    """The target does not exist before the block ends, and holds all of it afterwards, parents included."""
    target = tmp_path / "runs" / "demo" / "bundle"

    with new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("a")
        assert not target.exists()

    assert tree(tmp_path) == {"runs/demo/bundle/sub/a.txt": "a"}


def test_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    """Nothing of the old folder is left, in it or beside it."""
    target = tmp_path / "bundle"
    for name in ("old", "new"):
        with new_folder(target) as folder:
            (folder / f"{name}.txt").write_text(name)

    assert tree(tmp_path) == {"bundle/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failed_block_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """Whatever ends the block early, the old folder stays as it was and no temporary is left."""
    target = tmp_path / "bundle"
    with new_folder(target) as folder:
        (folder / "a.txt").write_text("old")

    def write_half() -> None:
        with new_folder(target) as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()

    assert tree(tmp_path) == {"bundle/a.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_new_folder_can_be_read_by_other_users(tmp_path: Path) -> None:
    """Files of any mode become readable by all, writable by their owner only."""
    target = tmp_path / "bundle"
    with new_folder(target) as folder:
        (folder / "sub").mkdir(mode=0o700)
        (folder / "sub" / "a.txt").write_text("a")
        (folder / "sub" / "a.txt").chmod(0o600)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (target, target / "sub", target / "sub" / "a.txt")}

    assert modes == {"bundle": 0o755, "sub": 0o755, "a.txt": 0o644}


def test_text_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A file holds the new text, in UTF-8, and nothing is left beside it."""
    path = tmp_path / "state.json"
    for text in ("old and longer", "é愛\n"):
        write_text_atomically(path, text)

    assert path.read_bytes() == "é愛\n".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_text_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    """A failed write leaves the old text and no temporary."""
    path = tmp_path / "state.json"
    write_text_atomically(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "half \ud800")

    assert tree(tmp_path) == {"state.json": "old"}
