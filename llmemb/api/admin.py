"""Bundles while the service runs."""

from typing import Annotated, Literal

from pydantic import Field

from llmemb.api.base import RequestBody, ResponseBody

BundleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class LoadBundleRequest(RequestBody):
    """The bundle to switch to."""

    bundle: BundleName
    """Name of its folder in LLMEMB_BUNDLES_DIR."""


class Replay(ResponseBody):
    """Recent requests replayed against the new bundle before the switch."""

    requests: int
    overlap_at_10: float | None
    """Mean share of the top ten items that both bundles recommend; null if nothing was replayed."""


class SwapResponse(ResponseBody):
    """The bundle that answers from now on."""

    bundle_id: str
    previous_bundle_id: str
    embedded_items: int
    """Added items that it embedded before the switch."""
    replay: Replay


class ExperimentRequest(RequestBody):
    """A second bundle for a share of the sessions."""

    bundle: BundleName
    share: Annotated[float, Field(gt=0, lt=1)]
    """Share of the sessions, by a hash of the session id; requests without one use the first bundle."""


class ExperimentBody(ResponseBody):
    """The running experiment."""

    bundle_id: str
    share: float


class LoadedBundle(ResponseBody):
    """A bundle in memory."""

    bundle_id: str
    name: str
    role: Literal["current", "previous", "experiment"]


class BundlesResponse(ResponseBody):
    """The bundles in memory and those that could be loaded."""

    loaded: list[LoadedBundle]
    experiment: ExperimentBody | None
    loading: str | None
    """Name of the bundle that is being loaded."""
    found: list[str]
    """Names in LLMEMB_BUNDLES_DIR."""
