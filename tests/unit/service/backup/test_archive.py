"""A backup's file that is cut, changed or of another format is refused by name, and nothing is restored."""

import asyncio
import hashlib
import json
import resource
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from llmemb_service.backup import archive
from llmemb_service.backup.archive import DATABASES, MANIFEST, Manifest, open_archive, write_archive
from llmemb_service.backup.backup import own_work_folder, write_backup
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.backup.state_files import KeptItem, KeptSession, open_restored_files, open_state_files
from llmemb_service.settings import Settings
from llmemb_service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE

ITEM = KeptItem("ü", '{"title":"é\\n"}', '["x", "y\\""]', available=False, removed=False, vectors={"b1": b"\0\0\x80?"})
SESSION = KeptSession("s:1", ("ü", "a"), 1e10)


def write(path: Path, catalogue: str = "", sessions: str = "") -> Path:
    """A backup of one item and one session, changed by SQL."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_state_files(folder) as files:
            files.add_items([ITEM])
            files.set_bundles(["b1"])
            files.add_sessions([SESSION])
        for database, statement in ((CATALOGUE_FILE, catalogue), (SESSIONS_FILE, sessions)):
            with closing(sqlite3.connect(folder / database, isolation_level=None)) as connection:
                connection.execute(statement)
        manifest = Manifest(
            created="2026-01-01T00:00:00+00:00",
            program="1",
            storage="sqlite",
            position=None,
            items=1,
            removed=0,
            sessions=1,
            bundles=("b1",),
            parts={},
        )
        write_archive(path, folder, manifest, Progress())
    return path


def read(path: Path) -> tuple[list[KeptItem], list[KeptSession]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_archive(path) as backup,
        open_restored_files(backup, Path(folder), Progress()) as files,
    ):
        return list(files.items()), list(files.read_sessions())


def rewritten(path: Path, contents: dict[str, bytes], **changed: object) -> Path:
    """The same file with other parts and another manifest."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()} | contents
    content[MANIFEST] = json.dumps(json.loads(content[MANIFEST]) | changed).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, part in content.items():
            new.writestr(name, part)
    return path


def test_archive_gives_back_what_was_written(tmp_path: Path) -> None:
    """Two databases of the documented names and tables, each with its hash, so that other programs can read them."""
    path = write(tmp_path / "backup.zip")

    assert read(path) == ([ITEM], [SESSION])
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as found:
        assert found.namelist() == [*DATABASES, MANIFEST] == ["catalogue.sqlite3", "sessions.sqlite3", MANIFEST]
        manifest = json.loads(found.read(MANIFEST))
        assert (manifest["format"], manifest["version"]) == ("llmemb-backup", 2)
        for name in DATABASES:
            content = found.read(name)
            assert manifest["parts"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        found.extractall(tmp_path)
    with closing(sqlite3.connect(tmp_path / CATALOGUE_FILE)) as catalogue:
        row = catalogue.execute("SELECT id, attributes, categories, available, removed FROM items").fetchone()
        assert row == ("ü", '{"title":"é\\n"}', '["x", "y\\""]', 0, 0)
        assert catalogue.execute("SELECT * FROM vectors").fetchall() == [("b1", "ü", b"\0\0\x80?")]
    with closing(sqlite3.connect(tmp_path / SESSIONS_FILE)) as sessions:
        assert sessions.execute("SELECT id, history, expires FROM sessions").fetchall() == [("s:1", '["ü", "a"]', 1e10)]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    """An unread byte, such as a date in the ZIP's directory, may differ; no other may."""
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
        ({"version": 3}, "has backup format 3 and this program reads format 2: restore it with the version of llmemb "),
        ({"format": "other"}, "is not that of a backup: format"),
        ({"items": -1}, "items: Input should be greater than or equal to 0"),
        ({"parts": {}}, r"catalogue\.sqlite3 is missing"),
        ({"parts": {name: {"bytes": 1, "sha256": "0" * 64} for name in DATABASES}}, r"damaged: catalogue\.sqlite3"),
    ],
)
def test_manifest_that_cannot_be_used_is_refused(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    """By what is wrong with it; a later format names both numbers."""
    path = rewritten(write(tmp_path / "backup.zip"), {}, **changed)

    with pytest.raises(BackupError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_backup_of_format_1_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Format 1 held JSON lines: the program that wrote it restores it, and this one opens the restored state."""
    path = tmp_path / "backup.zip"
    with zipfile.ZipFile(path, "w") as old:
        old.writestr("items.jsonl", "")
        old.writestr("sessions.jsonl", "")
        old.writestr(MANIFEST, json.dumps({"format": "llmemb-backup", "version": 1}))

    with pytest.raises(BackupError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} has backup format 1 and this program reads format 2: restore it with the version of llmemb that wrote "
        "it, then start this version on the restored state"
    )


def test_part_is_read_no_further_than_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of a ZIP may expand to more than the disk holds."""
    monkeypatch.setattr(archive, "_CHUNK_BYTES", 1000)
    path = write(tmp_path / "backup.zip")
    with zipfile.ZipFile(path) as found:
        size = found.getinfo(CATALOGUE_FILE).file_size
    rewritten(path, {CATALOGUE_FILE: bytes(10 * size)})

    with open_archive(path) as backup, pytest.raises(BackupError, match=r"damaged: catalogue\.sqlite3"):
        backup.extract(tmp_path, Progress())
    assert size < (tmp_path / CATALOGUE_FILE).stat().st_size <= size + 1000


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize(
    ("catalogue", "sessions", "said"),
    [
        ("DROP TABLE vectors", "", r"no such table: vectors"),
        ("ALTER TABLE items DROP COLUMN categories", "", r"no such column: categories"),
        ("UPDATE items SET attributes = 'x'", "", r"catalogue\.sqlite3: item ü has a value of the wrong type"),
        ("UPDATE items SET attributes = '[]'", "", r"catalogue\.sqlite3: item ü has"),
        ("UPDATE items SET categories = '{}'", "", r"catalogue\.sqlite3: item ü has"),
        ("UPDATE items SET available = 2", "", r"catalogue\.sqlite3: item ü has"),
        ("UPDATE items SET removed = 'no'", "", r"catalogue\.sqlite3: item ü has"),
        ("UPDATE items SET id = x'61'", "", r"catalogue\.sqlite3: item a has"),
        ("UPDATE vectors SET semantic = x'000000'", "", r"catalogue\.sqlite3: the vector of item ü has"),
        ("UPDATE vectors SET semantic = 'text'", "", r"catalogue\.sqlite3: the vector of item ü has"),
        ("UPDATE bundles SET id = x'61'", "", r"catalogue\.sqlite3: bundle a has"),
        ("PRAGMA user_version = 3", "", r"the catalogue's database has format 3, this program reads up to 2"),
        ("", "UPDATE sessions SET history = '[]'", r"sessions\.sqlite3: session s:1 has"),
        ("", "UPDATE sessions SET history = '{}'", r"sessions\.sqlite3: session s:1 has"),
        ("", "UPDATE sessions SET history = 'x'", r"sessions\.sqlite3: session s:1 has"),
        ("", "UPDATE sessions SET expires = 'never'", r"sessions\.sqlite3: session s:1 has"),
    ],
)
def test_database_of_somebody_else_is_refused(
    tmp_path: Path, kind: str, catalogue: str, sessions: str, said: str
) -> None:
    """With its name and the row, where somebody made the file by hand; nothing is restored of it."""
    path = write(tmp_path / "backup.zip", catalogue, sessions)
    url = SecretStr("redis://localhost:1") if kind == "redis" else None  # it is never asked
    setup = Settings(bundle=Path("bundle"), state_dir=tmp_path / "state", redis_url=url)

    with pytest.raises(BackupError, match=rf"backup\.zip cannot be restored: {said}"):
        asyncio.run(restore_backup(setup, path, replace=False, progress=Progress()))
    assert [found.name for found in tmp_path.rglob("*") if found.name not in ("backup.zip", "state")] == (
        ["lock"] if kind == "sqlite" else []
    )


def test_damaged_database_is_refused(tmp_path: Path) -> None:
    """A file whose hash fits and whose pages do not: the service would fail at some later read."""
    path = write(tmp_path / "backup.zip")
    with zipfile.ZipFile(path) as found:
        parts = json.loads(found.read(MANIFEST))["parts"]
        content = bytearray(found.read(CATALOGUE_FILE))
    content[4096 + 3 : 4096 + 5] = b"\xff\xff"  # the number of cells of the second page
    parts[CATALOGUE_FILE]["sha256"] = hashlib.sha256(content).hexdigest()
    rewritten(path, {CATALOGUE_FILE: bytes(content)}, parts=parts)

    with pytest.raises(BackupError, match=r"backup\.zip cannot be restored: catalogue\.sqlite3: Page 2: "):
        read(path)


@pytest.mark.parametrize("content", [None, b"", b"no archive at all"])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """And a file that is not there."""
    path = tmp_path / "backup.zip"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BackupError, match=r"backup\.zip (cannot be read: No such file|is no backup)"):
        read(path)


def test_archive_without_manifest_is_no_backup(tmp_path: Path) -> None:
    """Any other ZIP."""
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("readme", "hello")

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


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let no file of this process grow larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_restore_without_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """It names the folder that is full, which is not the backup's, and leaves nothing there."""
    path = write(tmp_path / "backup.zip")
    url = SecretStr("redis://localhost:1") if kind == "redis" else None  # it is never asked
    setup = Settings(bundle=Path("bundle"), state_dir=tmp_path / "state", redis_url=url)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = (
        r"state cannot be restored to, .*File too large"
        if kind == "sqlite"
        else r"extracted to TMPDIR .*File too large"
    )

    with largest_file(5000), pytest.raises(BackupError, match=said):
        asyncio.run(restore_backup(setup, path, replace=False, progress=Progress()))
    assert {found.name for found in tmp_path.rglob("*")} - {"state", "lock"} == {"backup.zip"}


def test_backup_without_room_leaves_the_last_one(tmp_path: Path) -> None:
    """Where the copy of the state does not fit."""
    source = Settings(bundle=Path("bundle"), state_dir=tmp_path / "state")
    asyncio.run(restore_backup(source, write(tmp_path / "made.zip"), replace=False, progress=Progress()))
    path = tmp_path / "backups" / "backup.zip"
    path.parent.mkdir()
    path.write_bytes(b"the last one")

    with largest_file(5000), pytest.raises(BackupError, match=r"catalogue\.sqlite3 cannot be copied: "):
        asyncio.run(write_backup(source, path, Progress()))
    assert [found.name for found in path.parent.iterdir()] == ["backup.zip"]
    assert path.read_bytes() == b"the last one"


@pytest.mark.parametrize("room", [100, 1000])
def test_archive_without_room_is_an_error_of_the_system(tmp_path: Path, room: int) -> None:
    """Whichever part does not fit: the caller names the file."""
    path = write(tmp_path / "backup.zip")
    with open_archive(path) as backup:
        backup.extract(tmp_path, Progress())

    assert path.stat().st_size > 1000
    with largest_file(room), pytest.raises(OSError, match="File too large"):
        write_archive(tmp_path / "other.zip", tmp_path, backup.manifest, Progress())


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
