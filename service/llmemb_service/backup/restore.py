"""Restores a backup into the configured storage, SQLite or Redis, from whichever it was written."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmemb_service.backup.archive import Archive, Manifest, open_archive
from llmemb_service.backup.backup import REDIS_SECONDS
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.redis_restore import restore_redis
from llmemb_service.backup.sqlite import restore_state_folder
from llmemb_service.backup.state_files import StateFiles, open_restored_files
from llmemb_service.settings import Settings
from llmemb_service.storage.redis.connections import connect


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was restored."""

    manifest: Manifest
    sessions: int
    """Number of the backup's sessions that have not expired since."""


async def restore_backup(settings: Settings, path: Path, *, replace: bool, progress: Progress) -> Restored:
    """Verify a backup's hashes, then restore it atomically.

    Args:
        settings: of the service; a service with a state folder must not be running.
        path: of the backup.
        replace: whether to replace existing state.
        progress: writes progress lines.

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
    """Open the databases in a temporary folder and delete the folder, so that a killed restore leaves no files."""
    with ExitStack() as stack:
        try:
            with tempfile.TemporaryDirectory(prefix="llmemb-restore-") as folder:
                files = stack.enter_context(open_restored_files(archive, Path(folder), progress))
        except OSError as error:
            where = tempfile.gettempdir()
            raise BackupError(f"{archive.path} cannot be extracted to TMPDIR ({where}): {error.strerror}") from error
        yield files
