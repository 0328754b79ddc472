"""A state folder's restored files take the place of the old ones: all of them, whenever the process dies.

`llmemb restore` builds whole files in one folder, and renames it to the other one: from that moment the restore has
happened, and whoever opens the state folder next moves the files to where they belong.
"""

import shutil
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb.files import sync_folder
from service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE

BUILDING, RESTORED = "restore.tmp", "restored"


def finish_restore(folder: Path) -> None:
    """Move restored files to their places, and drop those of a restore that did not come that far.

    The caller holds the folder. Nothing happens where nothing was restored.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        shutil.rmtree(folder / BUILDING, ignore_errors=True)
        restored = folder / RESTORED
        if not restored.is_dir():
            return
        waiting = [name for name in (CATALOGUE_FILE, SESSIONS_FILE) if (restored / name).exists()]
        # SQLite would take what an old file left beside it for the new one's; so this is gone for good, first.
        for name in waiting:
            for suffix in ("-wal", "-shm", "-journal"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
        sync_folder(folder)
        for name in waiting:
            (restored / name).replace(folder / name)
        sync_folder(folder)
        restored.rmdir()
    except OSError as error:
        raise ConfigError(f"{folder}: the restored files cannot be put in place: {error.strerror}") from error
