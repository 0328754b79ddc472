"""Routes for operators: `GET /healthz`, `/readyz`, `/info`, `/metrics`."""

import platform
from importlib.metadata import version

from fastapi import APIRouter, Response

from llmemb import __version__
from llmemb.api.operations import CatalogueCounts, HealthResponse, InfoResponse, MetricBody, ReadyResponse
from llmemb_service.errors import NotReadyError
from llmemb_service.http.openapi.description import problem_responses
from llmemb_service.http.routes.dependencies import EngineDep, MetricsDep, ReadinessDep, SettingsDep
from llmemb_service.observability.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])

_LIBRARIES = ("fastapi", "torch", "transformers", "faiss-cpu", "numpy")


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> HealthResponse:
    """Answer at once, without any check."""
    return HealthResponse(status="alive")


@router.get("/readyz", summary="Can requests be answered?", responses=problem_responses("internal", "not_ready"))
async def readyz(engine: EngineDep, readiness: ReadinessDep) -> ReadyResponse:
    """Make a recommendation and check every other part; the result is reused for a few seconds.

    `degraded` with status 200: recommendations for a history of known items work, but another part has failed, such as
    the encoder or Redis.

    Raises:
        NotReadyError: recommendations fail or lack a part of the catalogue, or the encoder has not started; `checks`
            says why.
    """
    health = await readiness.check()
    if health.missing:
        raise NotReadyError(f"not ready: {', '.join(health.missing)}", health.checks)
    return ReadyResponse(
        status="degraded" if health.degraded else "ready",
        bundle_id=engine.bundle.manifest.id,
        checks=dict(health.checks),
    )


@router.get("/info", summary="What is running?", responses=problem_responses("internal"))
async def info(engine: EngineDep, settings: SettingsDep) -> InfoResponse:
    """Describe the bundle, its evaluation, the catalogue, the limits and the versions."""
    manifest = engine.bundle.manifest
    snapshot = engine.catalogue.snapshot
    return InfoResponse(
        bundle_id=manifest.id,
        created_at=manifest.provenance.created_at,
        domain=manifest.prompt.domain,
        attribute_names=list(manifest.prompt.attribute_names),
        categories_attribute=manifest.categories_attribute,
        encoder=manifest.encoder.model_dump(mode="json"),
        sequence_model=manifest.sequence_model.model_dump(mode="json"),
        dimension=manifest.dim,
        has_residual=manifest.has_residual,
        scoring=manifest.scoring,
        semantic_term=None if manifest.semantic_term is None else manifest.semantic_term.model_dump(mode="json"),
        index=manifest.index.model_dump(mode="json"),
        metrics=[MetricBody(**metric.model_dump()) for metric in manifest.metrics],
        selection=[choice.model_dump(mode="json") for choice in manifest.selection],
        catalogue=CatalogueCounts(
            items=len(snapshot),
            bundle=len(snapshot) - snapshot.num_added,
            added=snapshot.num_added,
            pending=len(engine.catalogue.pending),
            left_out=engine.catalogue.left_out,
        ),
        limits={
            name: getattr(settings, name)
            for name in (
                "max_body_bytes", "max_client_batch_size", "max_value_characters", "max_history_items", "max_k",
                "max_filter_values", "max_added_items", "max_queued_items", "max_queued_recommendations",
            )
        },
        report=settings.report is not None,
        versions={"llmemb": __version__, "python": platform.python_version()}
        | {library: version(library) for library in _LIBRARIES},
    )  # fmt: skip


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}},
)
async def metrics(metrics: MetricsDep) -> Response:
    """Return all metrics of this process in Prometheus' text format."""
    return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})
