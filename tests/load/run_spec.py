"""What a run needs to know, as the parent process hands it to Locust's."""

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from tests.load.config import LoadConfig

VARIABLE = "LOAD_RUN"
"""Names the file that holds the spec."""


class RunSpec(BaseModel):
    """One run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """Of the service; `target.check_target` has let it pass."""
    bundle: Path
    """Folder of the bundle that items and texts are drawn from; that of the service."""
    bundle_id: str
    """Of the bundle that the service said it has."""
    out: Path
    """Folder for the report."""
    config: LoadConfig
    seed: int
    name: str
    """Different for each run: begins the ids of sessions and added items."""
    api_key_file: Path | None

    @property
    def api_key(self) -> str | None:
        """The key that the service asks for."""
        return None if self.api_key_file is None else self.api_key_file.read_text(encoding="utf-8").strip()

    @classmethod
    def of_environment(cls) -> Self:
        """Read the spec that the parent has written."""
        return cls.model_validate_json(Path(os.environ[VARIABLE]).read_bytes())
