"""`/admin`: manage bundles while the service runs."""

from fastapi import APIRouter, Response

from llmemb.api.admin import (
    BundlesResponse,
    ExperimentBody,
    ExperimentRequest,
    LoadBundleRequest,
    LoadedBundle,
    Replay,
    SwapResponse,
)
from llmemb_service.bundles.versions import Swap, Versions
from llmemb_service.http.openapi.description import problem_responses
from llmemb_service.http.routes.dependencies import VersionsDep

router = APIRouter(prefix="/admin", tags=["admin"])

_BODY = ("invalid_json", "body_too_large", "unsupported_media_type", "invalid_request")


@router.get("/bundles", summary="Which bundles are loaded?", responses=problem_responses("internal"))
async def bundles(versions: VersionsDep) -> BundlesResponse:
    """List the loaded bundles and those that can be loaded."""
    return _describe(versions)


@router.post(
    "/bundles",
    summary="Load a bundle and let it take over",
    responses=problem_responses(*_BODY, "bundle_not_found", "swap_refused", "internal"),
)
async def load_bundle(body: LoadBundleRequest, versions: VersionsDep) -> SwapResponse:
    """Load a bundle beside the running one, check it, replay recent requests, and swap between two requests.

    The new bundle embeds the added items before it takes over. If it cannot answer, the status is 409 and the running
    bundle continues. The load continues if the client disconnects.
    """
    return _swapped(await versions.load(body.bundle))


@router.post(
    "/rollback",
    summary="Let the previous bundle take over again",
    responses=problem_responses("bundle_not_found", "swap_refused", "internal"),
)
async def rollback(versions: VersionsDep) -> SwapResponse:
    """Swap the running bundle and the previous one."""
    return _swapped(await versions.roll_back())


@router.put(
    "/experiment",
    summary="Let a bundle answer a share of the sessions",
    responses=problem_responses(*_BODY, "bundle_not_found", "swap_refused", "internal"),
)
async def set_experiment(body: ExperimentRequest, versions: VersionsDep) -> BundlesResponse:
    """Load a second bundle for a share of the sessions, by a hash of the session id."""
    await versions.start_experiment(body.bundle, body.share)
    return _describe(versions)


@router.delete(
    "/experiment",
    summary="End the experiment",
    status_code=204,
    response_class=Response,
    responses=problem_responses("internal"),
)
async def end_experiment(versions: VersionsDep) -> None:
    """Let the current bundle answer every session; without an experiment, do nothing."""
    versions.end_experiment()


def _swapped(swap: Swap) -> SwapResponse:
    return SwapResponse(
        bundle_id=swap.current.bundle.manifest.id,
        previous_bundle_id=swap.previous.bundle.manifest.id,
        embedded_items=swap.embedded_items,
        replay=Replay(requests=swap.replayed.requests, overlap_at_10=swap.replayed.overlap_at_10),
    )


def _describe(versions: Versions) -> BundlesResponse:
    experiment = versions.experiment
    return BundlesResponse(
        loaded=[
            LoadedBundle(bundle_id=engine.bundle.manifest.id, name=engine.name, role=role)
            for role, engine in versions.loaded().items()
        ],
        experiment=None
        if experiment is None
        else ExperimentBody(bundle_id=experiment.engine.bundle.manifest.id, share=experiment.share),
        loading=versions.loading,
        found=versions.found(),
    )
