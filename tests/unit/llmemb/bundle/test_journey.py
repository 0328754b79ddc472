"""`llmemb.bundle.read`: a bundle that was copied by the tools people use is read, or the error says what they did."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb.bundle import read_bundle
from llmemb.bundle.read import read_manifest, verify_files
from llmemb.errors import BundleCorruptError


@pytest.fixture
def copy(full_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one's own to change."""
    return shutil.copytree(full_bundle, tmp_path / "bundle")


LEFTOVERS = [
    ".DS_Store",
    "encoder/.DS_Store",
    "encoder/._model.safetensors",
    "._manifest.json",
    "Thumbs.db",
    "desktop.ini",
    "encoder/model.safetensors:Zone.Identifier",
    ".gitattributes",
    "encoder/.nfs000000000123",
]
FOLDERS = [".cache/huggingface/download", ".git/objects", "__MACOSX/bundle", "@eaDir", "lost+found"]


def test_known_leftovers_are_ignored_with_one_warning(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files of operating systems and of tools for copying do not refuse the bundle; the warning names all of them."""
    for name in LEFTOVERS:
        (copy / name).write_bytes(b"\0")
    for name in FOLDERS:
        (copy / name).mkdir(parents=True)
        (copy / name / "adapter_config.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        bundle = read_bundle(copy)

    [message] = caplog.messages
    beginning = f"{copy}: ignored files that are not in the manifest: "
    assert message.startswith(beginning)
    assert sorted(message.removeprefix(beginning).split(", ")) == sorted(
        [*LEFTOVERS, ".cache", ".git", "__MACOSX", "@eaDir", "lost+found"]
    )
    assert len(bundle.items.ids) == bundle.manifest.num_items


@pytest.mark.parametrize(
    "name", ["encoder/adapter_config.json", "README.md", "encoder/.hidden", "cache/huggingface/x", "encoder/_x", ".env"]
)
def test_unknown_file_is_refused_beside_leftovers(copy: Path, name: str) -> None:
    """Only the known names are ignored, and only as a whole."""
    (copy / ".DS_Store").touch()
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).touch()

    with pytest.raises(BundleCorruptError, match=rf"^{name}: the file is not in the manifest$"):
        read_bundle(copy)


def test_symbolic_links_are_followed(copy: Path, tmp_path: Path) -> None:
    """As in the cache of Hugging Face's hub, files are links; a folder may be one too."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(copy.rglob("*"))):
        if path.is_file():
            path.rename(blobs / str(number))
            path.symlink_to(Path("..", "blobs" if path.parent == copy else "../blobs", str(number)))
        if path.name == "1_Pooling":
            break
    (copy / "encoder").rename(tmp_path / "elsewhere")
    (copy / "encoder").symlink_to(tmp_path / "elsewhere")
    bundle = read_bundle(copy)

    assert bundle.manifest.id == read_manifest(copy).id


def test_file_in_a_linked_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    """A link does not hide an additional file."""
    (copy / "encoder").rename(tmp_path / "elsewhere")
    (copy / "encoder").symlink_to(tmp_path / "elsewhere")
    (copy / "encoder" / "adapter_config.json").touch()

    with pytest.raises(BundleCorruptError, match=r"^encoder/adapter_config\.json: the file is not in the manifest$"):
        read_bundle(copy)


def test_folder_that_links_to_itself_is_refused(copy: Path) -> None:
    """The files below it are not in the manifest, and reading ends."""
    (copy / "loop").symlink_to(copy)

    with pytest.raises(BundleCorruptError, match=r"^loop/\S+: the file is not in the manifest$"):
        read_bundle(copy)


@pytest.mark.parametrize("name", ["manifest.json", "encoder/model.safetensors"])
def test_broken_link_is_named(copy: Path, name: str) -> None:
    """The message says where it leads, and how to copy."""
    (copy / name).unlink()
    (copy / name).symlink_to("../../blobs/abc")

    with pytest.raises(
        BundleCorruptError,
        match=rf"^{name}: the file is missing: a symbolic link leads to \.\./\.\./blobs/abc; .*cp -rL",
    ):
        read_bundle(copy)


def test_changed_line_ends_are_named(copy: Path) -> None:
    """git on Windows and text mode in FTP make CRLF of LF."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = copy / "encoder" / name
        assert b"\n" in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

        with pytest.raises(
            BundleCorruptError,
            match=rf"^encoder/{name}: the file has \d+ bytes, .*: its line ends were changed from LF to CRLF",
        ):
            read_bundle(copy)
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    read_bundle(copy)


def test_other_changes_are_not_called_line_ends(copy: Path) -> None:
    """A file with CRLF and another change is only changed."""
    path = copy / "encoder" / "tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n ")

    with pytest.raises(BundleCorruptError, match=r"^encoder/tokenizer\.json: the file has \d+ bytes, [a-z \d]+$"):
        read_bundle(copy)


def test_manifest_with_crlf_is_read(copy: Path) -> None:
    """Its checksum is of the content."""
    path = copy / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert read_bundle(copy).manifest.num_items == 40


@pytest.mark.parametrize("name", ["manifest.json", "encoder/model.safetensors"])
def test_pointer_of_git_lfs_is_named(copy: Path, name: str) -> None:
    """A clone without git-lfs has small text files in place of the large ones."""
    (copy / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1234\n")

    with pytest.raises(BundleCorruptError, match=rf"^{name}.*: it is a pointer of Git LFS; .*git lfs pull$"):
        read_bundle(copy)


def _without_privileges(read: Callable[[], object]) -> None:
    """Run as a user who is not root, for whom a file's mode counts."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        read()
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", ["manifest.json", "encoder/model.safetensors"])
def test_unreadable_file_is_named(copy: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied by root, served by another user."""
    # The folders above belong to root alone, so the path is relative.
    monkeypatch.chdir(copy)
    manifest = read_manifest(Path())
    (copy / name).chmod(0)

    with pytest.raises(BundleCorruptError, match=rf"^{name}: the file cannot be read: Permission denied$"):
        _without_privileges(lambda: (read_manifest(Path()), verify_files(Path(), manifest)))


def test_reading_writes_nothing_to_the_bundle(copy: Path) -> None:
    """So it may be mounted read-only."""

    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (copy, *copy.rglob("*"))}

    before = state()
    bundle = read_bundle(copy)
    bundle.load_encoder().encode(["tea"])

    assert state() == before
