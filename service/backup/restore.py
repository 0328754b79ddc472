"""Restores a backup into the storage that the settings name, whichever it was written from."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.backup.archive import Archive, Manifest, open_archive
from service.backup.backup import REDIS_SECONDS
from service.backup.errors import BackupError
from service.backup.progress import Progress
from service.backup.redis_restore import restore_redis
from service.backup.sqlite import restore_state_folder
from service.backup.state_files import StateFiles, open_restored_files
from service.settings import Settings
from service.storage.redis.connections import connect


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was restored."""

    manifest: Manifest
    sessions: int
    """How many of the backup's sessions have not ended meanwhile."""


async def restore_backup(settings: Settings, path: Path, *, replace: bool, progress: Progress) -> Restored:
    """Restore a backup, whole or not at all; its hashes are verified first.

    Args:
        settings: of the service, which must not run where it keeps its state in a folder.
        path: of the backup.
        replace: whether to replace what is there.
        progress: is told.

    Raises:
        BackupError: the file is not a whole backup, or it may not be restored there.
        ConfigError: the state folder cannot be written.
        StorageError: Redis fails.
    """
    with open_archive(path) as archive:
        if settings.redis_url is None:
            kept = restore_state_folder(settings.state_dir, archive, replace=replace, progress=progress)
            return Restored(archive.manifest, kept)
        with _open_unlinked(archive, progress) as files:
            redis = connect(settings, timeout_seconds=REDIS_SECONDS)
            try:
                kept = await restore_redis(redis, settings.redis_prefix, files, replace=replace, progress=progress)
            finally:
                await redis.aclose()
        return Restored(archive.manifest, kept)


@contextmanager
def _open_unlinked(archive: Archive, progress: Progress) -> Iterator[StateFiles]:
    """Open the databases from a temporary folder that is deleted already, so that a killed restore leaves nothing."""
    with ExitStack() as stack:
        try:
            with tempfile.TemporaryDirectory(prefix="llmemb-restore-") as folder:
                files = stack.enter_context(open_restored_files(archive, Path(folder), progress))
        except OSError as error:
            where = tempfile.gettempdir()
            raise BackupError(f"{archive.path} cannot be extracted to TMPDIR ({where}): {error.strerror}") from error
        yield files
