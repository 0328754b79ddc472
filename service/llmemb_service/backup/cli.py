"""`llmemb backup` and `llmemb restore`."""

import argparse
import asyncio
import sys
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.observability.logs import configure_logging
from llmemb_service.settings import Settings, load_settings

_STATE = "The settings say where the state is, as for `llmemb serve`: LLMEMB_STATE_DIR, or LLMEMB_REDIS_URL."


def backup(arguments: list[str]) -> None:
    """Write a backup, and print what it contains.

    Raises:
        LlmembError: it cannot be written; nothing is.
    """
    parser = argparse.ArgumentParser(
        prog="llmemb backup",
        description=f"Write added items and sessions to one file, while the service runs. {_STATE}",
    )
    parser.add_argument(
        "--out",
        required=True,
        help="the file, or a folder for a file named after the time; with a slash at its end it is made",
    )
    out = _target(parser.parse_args(arguments).out)
    written = asyncio.run(write_backup(_settings(), out, Progress()))
    manifest, size = written.manifest, written.path.stat().st_size
    sys.stdout.write(
        f"{written.path}: {manifest.items} items, {manifest.removed} removed, {manifest.sessions} sessions, "
        f"vectors of {len(manifest.bundles)} bundles, {size / 1e6:.1f} MB\n"
    )


def restore(arguments: list[str]) -> None:
    """Restore a backup, and print what it contained.

    Raises:
        LlmembError: it cannot be restored; nothing is changed.
    """
    parser = argparse.ArgumentParser(
        prog="llmemb restore",
        description=f"Restore a backup into an empty storage, whole or not at all. {_STATE} A service with a state "
        "folder must be stopped; replicas on Redis may run, and follow.",
    )
    parser.add_argument("file", type=Path, help="a backup")
    parser.add_argument("--replace", action="store_true", help="put it in the place of what is there")
    options = parser.parse_args(arguments)
    restored = asyncio.run(restore_backup(_settings(), options.file, replace=options.replace, progress=Progress()))
    manifest = restored.manifest
    ended = manifest.sessions - restored.sessions
    sys.stdout.write(
        f"restored {manifest.items} items, {manifest.removed} removed, and {restored.sessions} sessions "
        f"({ended} had ended since) from the backup of {manifest.created}\n"
    )


def _target(out: str) -> Path:
    path = Path(out)
    if out.endswith("/"):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {out}: {error.strerror}") from error
    return path


def _settings() -> Settings:
    # The settings require a bundle, which neither command needs.
    settings = load_settings({"bundle": Path()})
    configure_logging(settings.log_format, settings.log_level)
    return settings
