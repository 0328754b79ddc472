"""A backup's file that is cut, changed or of another format is refused by name; nothing else is done."""

import asyncio
import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.backup import archive_reader
from service.backup.archive_reader import ArchiveReader
from service.backup.archive_writer import ArchiveWriter
from service.backup.backup import write_backup
from service.backup.errors import BackupError
from service.backup.manifest import ITEMS, MANIFEST, SESSIONS, Manifest
from service.backup.progress import Progress
from service.backup.records import KeptItem, KeptSession, item_line, session_line
from service.backup.restore import restore_backup
from service.backup.work_folder import own_work_folder
from service.settings import Settings

ITEM = KeptItem("ü", '{"title":"é\\n"}', ("x", 'y"'), available=False, removed=False, vectors={"b1": b"\0\0\x80?"})
SESSION = KeptSession("s:1", ("ü", "a"), 1e10)


def write(path: Path, items: bytes = item_line(ITEM), sessions: bytes = session_line(SESSION)) -> Path:
    """A backup of one item and one session, unless told."""
    with ArchiveWriter(path) as archive:
        archive.write_part(ITEMS, [items])
        archive.write_part(SESSIONS, [sessions])
        archive.write_manifest(
            Manifest(
                created="2026-01-01T00:00:00+00:00",
                program="1",
                storage="sqlite",
                position=None,
                items=1,
                removed=0,
                sessions=1,
                bundles=("b1",),
                parts=archive.parts,
            )
        )
    return path


def read(path: Path) -> tuple[list[KeptItem], list[KeptSession]]:
    with ArchiveReader(path) as archive:
        return list(archive.items()), list(archive.sessions())


def with_manifest(path: Path, **changed: object) -> Path:
    """The same file, its manifest changed."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(parts[MANIFEST]) | changed
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, json.dumps(manifest) if name == MANIFEST else content)
    return path


def test_archive_gives_back_what_was_written(tmp_path: Path) -> None:
    """Of the documented names, each part with its hash, so that other programs can read it."""
    path = write(tmp_path / "backup.zip")

    assert read(path) == ([ITEM], [SESSION])
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [ITEMS, SESSIONS, MANIFEST]
        manifest = json.loads(archive.read(MANIFEST))
        assert (manifest["format"], manifest["version"]) == ("llmemb-backup", 1)
        assert manifest["parts"][ITEMS]["sha256"] == hashlib.sha256(archive.read(ITEMS)).hexdigest()
        assert json.loads(archive.read(ITEMS)) == {
            "id": "ü",
            "attributes": '{"title":"é\\n"}',
            "categories": ["x", 'y"'],
            "available": False,
            "removed": False,
            "vectors": {"b1": "AACAPw=="},
        }


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    """A byte that nobody reads, as a date in the file's tables, may be another one; no other may."""
    path = tmp_path / "changed.zip"
    content = bytearray(write(path).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    try:
        found = read(path)
    except BackupError as error:
        assert str(path) in str(error)  # noqa: PT017 - it may also be read
    else:
        assert found == ([ITEM], [SESSION])


def test_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    """As a full disk or a broken copy leaves it."""
    path = write(tmp_path / "backup.zip")
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(BackupError, match=r"backup\.zip is no backup, or is cut or damaged"):
            read(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 2}, "has backup format 2 and this program reads up to 1"),
        ({"version": 0}, "version: Input should be 1"),
        ({"format": "other"}, "is not that of a backup: format"),
        ({"items": -1}, "items: Input should be greater than or equal to 0"),
        ({"parts": {}}, "do not agree on the part items.jsonl"),
        ({"parts": {ITEMS: {"bytes": 1, "sha256": "0" * 64}, SESSIONS: {"bytes": 1, "sha256": "0" * 64}}}, "damaged"),
    ],
)
def test_manifest_that_cannot_be_used_is_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    """By what is wrong with it; a later format names both numbers."""
    path = with_manifest(write(tmp_path / "backup.zip"), **changed)

    with pytest.raises(BackupError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("items", "sessions", "said"),
    [
        (b"{}\n", None, r"items\.jsonl, line 1 is no item: id: Field required"),
        (item_line(ITEM) + b"x\n", None, r"items\.jsonl, line 2 is no item"),
        (item_line(ITEM).replace(b"AACAPw==", b"AACA"), None, "a vector is cut"),
        (item_line(ITEM).replace(b"AACAPw==", b"!"), None, r"line 1 is no item"),
        (None, b'{"id":"s","history":[],"expires":1.0}\n', r"sessions\.jsonl, line 1 is no session: history"),
    ],
)
def test_line_that_is_no_record_is_refused(
    tmp_path: Path, items: bytes | None, sessions: bytes | None, said: str
) -> None:
    """With its number, where somebody made the file by hand; nothing is restored of it."""
    path = write(tmp_path / "backup.zip", items or item_line(ITEM), sessions or session_line(SESSION))
    setup = Settings(bundle=Path("bundle"), state_dir=tmp_path / "state")

    with pytest.raises(BackupError, match=said):
        asyncio.run(restore_backup(setup, path, replace=False, progress=Progress()))
    assert [found.name for found in (tmp_path / "state").iterdir()] == ["lock"]


def test_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is read up to a bound."""
    monkeypatch.setattr(archive_reader, "MAX_LINE_BYTES", 10)

    with pytest.raises(BackupError, match="line 1 is no item"):
        read(write(tmp_path / "backup.zip"))


@pytest.mark.parametrize("content", [None, b"", b"no archive at all"])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there, too."""
    path = tmp_path / "backup.zip"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BackupError, match=r"backup\.zip (cannot be read: No such file|is no backup)"):
        read(path)


def test_archive_without_manifest_is_no_backup(tmp_path: Path) -> None:
    """Any other ZIP."""
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "hello")

    with pytest.raises(BackupError, match=r"no backup: manifest\.json is missing"):
        read(path)


def test_failed_backup_leaves_the_last_one(tmp_path: Path) -> None:
    """And nothing of its own."""
    path = tmp_path / "backup.zip"
    path.write_bytes(b"the last one")
    setup = Settings(bundle=Path("bundle"), state_dir=tmp_path / "nowhere")

    with pytest.raises(BackupError):
        asyncio.run(write_backup(setup, path, Progress()))
    assert [found.name for found in tmp_path.iterdir()] == ["backup.zip"]
    assert path.read_bytes() == b"the last one"


def test_backup_to_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    """By the path."""
    setup = Settings(bundle=Path("bundle"), state_dir=tmp_path)
    with pytest.raises(BackupError, match=r"missing/backup\.zip cannot be written: .*No such file"):
        asyncio.run(write_backup(setup, tmp_path / "missing" / "backup.zip", Progress()))


def test_one_backup_at_a_time_is_written_to_a_folder(tmp_path: Path) -> None:
    """What a killed one left is dropped by the next."""
    left = tmp_path / ".llmemb-backup.tmp" / "work"
    left.mkdir(parents=True)
    (left / "catalogue.sqlite3").write_bytes(b"half")
    with own_work_folder(tmp_path) as work:
        assert list(work.iterdir()) == []
        with pytest.raises(BackupError, match="another backup is being written"), own_work_folder(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
