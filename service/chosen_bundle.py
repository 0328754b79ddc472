"""The bundle that an operator chose while the service ran, so that a restart does not undo the swap.

Only where this process keeps the state: replicas that share a Redis each start with the bundle of their settings.
"""

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from llmemb.bundle import MANIFEST_FILE
from llmemb.files import write_text_atomically
from service.settings import Settings

_FILE = "bundle.json"

logger = logging.getLogger(__name__)


class _Choice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    configured: str
    """The bundle that the settings named then: when they name another one, that counts."""
    chosen: str


def chosen_bundle(settings: Settings) -> Path:
    """Return the folder of the bundle to begin with."""
    path = settings.state_dir / _FILE
    if settings.redis_url is not None or not path.is_file():
        return settings.bundle
    try:
        choice = _Choice.model_validate_json(path.read_bytes())
    except ValidationError:
        logger.warning("%s cannot be read; the bundle of the settings answers", path)
        return settings.bundle
    chosen = Path(choice.chosen)
    if choice.configured != str(settings.bundle.resolve()) or not (chosen / MANIFEST_FILE).is_file():
        return settings.bundle
    return chosen


def write_chosen_bundle(settings: Settings, folder: Path) -> None:
    """Keep the choice of a folder."""
    if settings.redis_url is None:
        choice = _Choice(configured=str(settings.bundle.resolve()), chosen=str(folder.resolve()))
        write_text_atomically(settings.state_dir / _FILE, choice.model_dump_json() + "\n")
