"""The configuration of a load run, `load.toml`: each number has a fixed maximum, so every run is bounded."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Work = Literal["search", "similar", "recommend", "embed_items", "embeddings"]
"""A kind of request; `scheduled.requests_of` makes them."""
Overloaded = Literal["recommend", "embed_items"]
"""The kinds that an overload can send."""
Seconds = Annotated[float, Field(gt=0, le=1800)]
Share = Annotated[float, Field(ge=0, le=1)]
PerSecond = Annotated[float, Field(gt=0, le=20_000)]
InFlight = Annotated[int, Field(ge=1, le=4_000)]
Connections = Annotated[int, Field(ge=1, le=512)]
TIMEOUT_SECONDS = 60.0
"""For an answer: longer than the service's own deadlines, so that the service gives up first."""
RUN_VARIABLE = "LOAD_RUN"
"""Names the file from which Locust's process reads the `RunSpec`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Mixed(_Part):
    """People who wait for their answers: a closed loop."""

    shoppers: Annotated[int, Field(ge=1, le=500)]
    shops: Annotated[int, Field(ge=1, le=20)]
    embedders: Annotated[int, Field(ge=1, le=10)]
    begin_per_second: Annotated[float, Field(gt=0, le=100)]
    """How many of them start each second."""
    think_seconds: Annotated[float, Field(ge=0, le=60)]
    """Mean pause of a shopper before a request; the pauses of the others are multiples."""
    batch_items: Annotated[int, Field(ge=1, le=512)]
    """Items of one upload or one batch of texts."""
    seconds: Seconds
    requests: Annotated[int, Field(ge=1, le=500_000)]
    """The run ends after so many, whatever time is left."""


class OpenLoop(_Part):
    """Requests at a constant rate, whether or not earlier ones are answered."""

    per_second: PerSecond
    seconds: Seconds
    in_flight: InFlight
    """A request that is due while as many are in flight is dropped, and counted."""
    mix: dict[Work, Annotated[float, Field(gt=0)]]
    """Kind of request -> its weight."""


class Overload(_Part):
    """More than the capacity of the service, which is measured just before."""

    factor: Annotated[float, Field(ge=1, le=20)]
    """Times the capacity."""
    capacity_connections: dict[Overloaded, Connections]
    """Of the closed loop that measures the capacity, by kind of request."""
    capacity_seconds: Seconds
    idle_share: Annotated[float, Field(gt=0, le=0.5)]
    """Of the capacity: a rate at which nothing waits."""
    idle_seconds: Seconds
    seconds: Seconds
    in_flight: InFlight
    embed_items: Annotated[int, Field(ge=1, le=512)]
    """New texts of one request, in an overload of the encoder."""
    bystanders_per_second: PerSecond
    """Recommendations by ids that are sent meanwhile, in an overload of the encoder."""
    p99_times_idle: Annotated[float, Field(ge=1)]
    """The most that the p99 of accepted requests may be, in multiples of that without load."""


class Thresholds(_Part):
    """A run that exceeds one of these fails."""

    failed_share: Share
    refused_share: Share
    """Of 429."""
    p99_ms: dict[str, Annotated[float, Field(gt=0)]]
    """Method and route -> the maximum p99 of good answers; each of these routes must be requested."""


class LoadConfig(_Part):
    """The content of `load.toml`."""

    mixed: Mixed
    open_loop: OpenLoop
    overload: Overload
    thresholds: Thresholds


class RunSpec(_Part):
    """One run, as this process passes it to the Locust and flood processes."""

    url: str
    """Of the service; `target.check_target` has accepted it."""
    bundle: Path
    """Folder of the bundle that the service serves; items and texts are drawn from it."""
    bundle_id: str
    """As the service reports it."""
    out: Path
    """Folder for the report."""
    config: LoadConfig
    seed: int
    name: str
    """Different for each run; the ids of sessions and added items begin with it."""
    api_key_file: Path | None

    @property
    def api_key(self) -> str | None:
        """The key for the service."""
        return None if self.api_key_file is None else self.api_key_file.read_text(encoding="utf-8").strip()

    @classmethod
    def of_environment(cls) -> Self:
        """Read the spec that the parent process has written."""
        return cls.model_validate_json(Path(os.environ[RUN_VARIABLE]).read_bytes())


def read_config(path: Path) -> LoadConfig:
    """Read a configuration.

    Raises:
        ValueError: it is not TOML, or a name or value is not allowed.
    """
    return LoadConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
