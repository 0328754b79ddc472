"""What a load run does, as `load.toml` says it: every number has a hard greatest, so that no run is without bounds."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Work = Literal["search", "similar", "recommend", "embed_items", "embeddings"]
"""A single request of a kind; `works.py` makes them."""
Overloaded = Literal["recommend", "embed_items"]
"""The kinds that an overload asks for."""
Seconds = Annotated[float, Field(gt=0, le=1800)]
Share = Annotated[float, Field(ge=0, le=1)]
PerSecond = Annotated[float, Field(gt=0, le=20_000)]
InFlight = Annotated[int, Field(ge=1, le=4_000)]
Connections = Annotated[int, Field(ge=1, le=512)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Mixed(_Part):
    """People who wait for their answers."""

    shoppers: Annotated[int, Field(ge=1, le=500)]
    shops: Annotated[int, Field(ge=1, le=20)]
    embedders: Annotated[int, Field(ge=1, le=10)]
    begin_per_second: Annotated[float, Field(gt=0, le=100)]
    """How many of them begin a second."""
    think_seconds: Annotated[float, Field(ge=0, le=60)]
    """Mean pause of a shopper before a request; the others' follow from it."""
    batch_items: Annotated[int, Field(ge=1, le=512)]
    """Items of one upload or one batch of texts."""
    seconds: Seconds
    requests: Annotated[int, Field(ge=1, le=500_000)]
    """The run ends when so many were sent, whatever time is left."""


class OpenLoop(_Part):
    """Requests that come by the clock, whether or not those before are answered."""

    per_second: PerSecond
    seconds: Seconds
    in_flight: InFlight
    """Past it an arrival is dropped, and counted."""
    mix: dict[Work, Annotated[float, Field(gt=0)]]
    """Kind of request -> its weight."""


class Overload(_Part):
    """More than the service can hold, by what it was seen to hold just before."""

    factor: Annotated[float, Field(ge=1, le=20)]
    """Times the capacity."""
    capacity_connections: dict[Overloaded, Connections]
    """Of the closed loop that finds the capacity, by what is asked for."""
    capacity_seconds: Seconds
    idle_share: Annotated[float, Field(gt=0, le=0.5)]
    """Of the capacity, where nothing has to wait."""
    idle_seconds: Seconds
    seconds: Seconds
    in_flight: InFlight
    embed_items: Annotated[int, Field(ge=1, le=512)]
    """New texts of one request, where encoding is overloaded."""
    bystanders_per_second: PerSecond
    """Recommendations by ids that are asked for meanwhile, where encoding is overloaded."""
    p99_times_idle: Annotated[float, Field(ge=1)]
    """What is accepted may take so many times as long as without load."""


class Thresholds(_Part):
    """What fails a run."""

    failed_share: Share
    refused_share: Share
    """Of 429."""
    p99_ms: dict[str, Annotated[float, Field(gt=0)]]
    """Method and route -> the greatest p99 of what was answered; each of these routes must have been asked."""


class LoadConfig(_Part):
    """The whole of `load.toml`."""

    mixed: Mixed
    open_loop: OpenLoop
    overload: Overload
    thresholds: Thresholds


def read_config(path: Path) -> LoadConfig:
    """Read a configuration.

    Raises:
        ValueError: it is no TOML, or says something else than a configuration may.
    """
    return LoadConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
