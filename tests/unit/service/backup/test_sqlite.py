"""A restore into a state folder happens or does not, wherever it is cut; and never beside a service."""

import asyncio
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.backup.state_files import open_state_files
from llmemb_service.settings import Settings
from llmemb_service.storage.state_folder import (
    BUILDING,
    CATALOGUE_FILE,
    RESTORED,
    SESSIONS_FILE,
    finish_restore,
    own_state_folder,
)
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import put
from tests.support.kept_state import state_of


def setup_of(folder: Path) -> Settings:
    return Settings(bundle=Path("bundle"), state_dir=folder)


async def ids(setup: Settings) -> list[str]:
    return [item_id for item_id, _ in (await state_of(setup)).items["b1"]]


def killed_service(folder: Path) -> Settings:
    """A state folder as a kill leaves it: what was acknowledged is still in the write-ahead log."""

    async def run() -> None:
        async with open_storage(setup_of(folder / "alive"), 10) as storage:
            await storage.items.append([put("old")])
            await storage.sessions.append("old", ["x"])
            shutil.copytree(folder / "alive", folder / "state")

    asyncio.run(run())
    assert (folder / "state" / f"{CATALOGUE_FILE}-wal").stat().st_size > 0
    return setup_of(folder / "state")


def built(folder: Path) -> None:
    """The files of a restore, whole."""
    folder.mkdir()
    with open_state_files(folder) as files:
        files.catalogue.execute("INSERT INTO items (id, removed) VALUES ('new', 1)")


def test_restore_cut_before_it_has_happened_has_not(tmp_path: Path) -> None:
    """The old state is whole, and the half-built files are gone when the folder is opened."""
    setup = killed_service(tmp_path)
    built(setup.state_dir / BUILDING)

    assert asyncio.run(ids(setup)) == ["old"]
    assert list(asyncio.run(state_of(setup, ("old",))).sessions) == ["old"]
    assert not (setup.state_dir / BUILDING).exists()


@pytest.mark.parametrize("moved", [0, 1, 2])
@pytest.mark.parametrize("by", ["service", "backup", "restore"])
def test_restore_cut_after_it_has_happened_is_finished(tmp_path: Path, moved: int, by: str) -> None:
    """By whoever opens the folder next; nothing of the old write-ahead log comes into the new files."""
    setup = killed_service(tmp_path)
    restored = setup.state_dir / RESTORED
    built(restored)
    for name in (CATALOGUE_FILE, SESSIONS_FILE):
        for suffix in ("-wal", "-shm") if moved else ():
            (setup.state_dir / f"{name}{suffix}").unlink()
    for name in (CATALOGUE_FILE, SESSIONS_FILE)[:moved]:
        (restored / name).replace(setup.state_dir / name)

    if by == "backup":
        backup = asyncio.run(write_backup(setup, tmp_path / "backup.zip", Progress()))
        assert (backup.manifest.removed, backup.manifest.items, backup.manifest.sessions) == (1, 0, 0)
    elif by == "restore":
        path = asyncio.run(write_backup(killed_service(tmp_path / "other"), tmp_path / "backup.zip", Progress())).path
        with pytest.raises(BackupError, match="holds items already"):
            asyncio.run(restore_backup(setup, path, replace=False, progress=Progress()))
    state = asyncio.run(state_of(setup, ("old",)))
    assert [item_id for item_id, _ in state.items["b1"]] == ["new"]
    assert state.sessions == {}
    assert not restored.exists()


def test_restore_beside_a_service_is_refused(tmp_path: Path) -> None:
    """The service goes on; a backup may be taken meanwhile."""

    async def run() -> None:
        setup = setup_of(tmp_path / "state")
        async with open_storage(setup, 10) as storage:
            await storage.items.append([put("a")])
            backup = await write_backup(setup, tmp_path, Progress())
            assert backup.path.name.startswith("llmemb-20")
            with pytest.raises(BackupError, match=r"a service uses .*; stop it first, nothing was restored"):
                await restore_backup(setup, backup.path, replace=True, progress=Progress())
            await storage.items.append([put("b")])
        assert await ids(setup) == ["a", "b"]

    asyncio.run(run())


def test_backup_does_not_wait_while_a_restore_is_finished(tmp_path: Path) -> None:
    """It says so; the next one works."""
    setup = killed_service(tmp_path)
    built(setup.state_dir / RESTORED)
    with own_state_folder(setup.state_dir), pytest.raises(BackupError, match=r"a restore of .* is not finished"):
        asyncio.run(write_backup(setup, tmp_path / "backup.zip", Progress()))
    assert asyncio.run(write_backup(setup, tmp_path / "backup.zip", Progress())).manifest.removed == 1


def test_old_file_that_is_no_database_is_in_the_way_without_replace(tmp_path: Path) -> None:
    """A damaged store is a reason to restore, so `replace` does not ask what it holds."""
    path = asyncio.run(write_backup(killed_service(tmp_path), tmp_path / "backup.zip", Progress())).path
    setup = setup_of(tmp_path / "damaged")
    setup.state_dir.mkdir()
    (setup.state_dir / CATALOGUE_FILE).write_bytes(b"x" * 5000)

    with pytest.raises(BackupError, match=r"catalogue\.sqlite3 is there and cannot be read"):
        asyncio.run(restore_backup(setup, path, replace=False, progress=Progress()))
    with pytest.raises(BackupError, match=r"catalogue\.sqlite3 cannot be copied"):
        asyncio.run(write_backup(setup, tmp_path / "other.zip", Progress()))
    asyncio.run(restore_backup(setup, path, replace=True, progress=Progress()))
    assert asyncio.run(ids(setup)) == ["old"]


def test_folder_whose_files_cannot_be_put_in_place_says_so(tmp_path: Path) -> None:
    """A folder where the file should be."""
    built(tmp_path / RESTORED)
    (tmp_path / CATALOGUE_FILE / "x").mkdir(parents=True)

    with ExitStack() as stack:
        stack.enter_context(own_state_folder(tmp_path))
        with pytest.raises(ConfigError, match="cannot be put in place"):
            finish_restore(tmp_path)
