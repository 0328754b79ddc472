"""What a report says about where its figures come from."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

import llmemb


class Stamps(BaseModel):
    """Versions, bundle, seed, machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    began: str
    """UTC."""
    bundle_id: str
    """Of the service, when the run began."""
    seed: int
    cores: int
    """Of this machine, which the load itself takes from too."""
    load_average: tuple[float, float]
    """Over a minute, when the run began and when it ended."""
    versions: dict[str, str]

    def ended(self) -> Self:
        """Add what is only known at the end."""
        return self.model_copy(update={"load_average": (self.load_average[0], _load_average())})


def stamps(bundle_id: str, seed: int, packages: Sequence[str]) -> Stamps:
    """Make the stamps of a run that begins now.

    Args:
        bundle_id: of the service.
        seed: of the run.
        packages: whose versions matter.
    """
    return Stamps(
        began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        bundle_id=bundle_id,
        seed=seed,
        cores=os.cpu_count() or 1,
        load_average=(_load_average(), 0.0),
        versions={"llmemb": llmemb.__version__, "python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
    )


def _load_average() -> float:
    return round(os.getloadavg()[0], 2)
