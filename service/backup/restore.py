"""Restores a backup into the storage that the settings name, whichever it was written from."""

from dataclasses import dataclass
from pathlib import Path

from service.backup.archive_reader import ArchiveReader
from service.backup.backup import REDIS_SECONDS
from service.backup.manifest import Manifest
from service.backup.progress import Progress
from service.backup.redis_target import restore_redis
from service.backup.sqlite_target import restore_state_folder
from service.settings import Settings
from service.storage.redis_connections import connect


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was restored."""

    manifest: Manifest
    sessions: int
    """Of the backup's, those that have not ended meanwhile."""


async def restore_backup(settings: Settings, path: Path, *, replace: bool, progress: Progress) -> Restored:
    """Restore a backup, whole or not at all; the file is compared with its hashes before anything is done.

    Args:
        settings: of the service, which must not run where it keeps its state in a folder.
        path: of the backup.
        replace: whether what is there goes.
        progress: is told.

    Raises:
        BackupError: the file is no whole backup, or it may not be restored there.
        ConfigError: the state folder cannot be written.
        StorageError: Redis fails.
    """
    with ArchiveReader(path) as archive:
        if settings.redis_url is None:
            kept = restore_state_folder(settings.state_dir, archive, replace=replace, progress=progress)
            return Restored(archive.manifest, kept)
        redis = connect(settings, timeout_seconds=REDIS_SECONDS)
        try:
            kept = await restore_redis(redis, settings.redis_prefix, archive, replace=replace, progress=progress)
        finally:
            await redis.aclose()
        return Restored(archive.manifest, kept)
