"""Opens the encoder that is configured in the settings."""

from collections.abc import Awaitable
from functools import partial

from llmemb.bundle import Bundle
from llmemb.bundle.bundle import ENCODER_FOLDER
from llmemb.bundle.read import verify_files
from llmemb.encoder.engines.engine import EXACT_ENGINES
from llmemb_service.encoding.admission import require_admission
from llmemb_service.encoding.encoder_process import EncoderProcess
from llmemb_service.encoding.prompt_encoder import PromptEncoder
from llmemb_service.encoding.remote import RemoteEncoder
from llmemb_service.encoding.worker import WorkerOptions
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings


async def open_prompt_encoder(settings: Settings, bundle: Bundle, metrics: Metrics) -> PromptEncoder:
    """Start the bundle's LLM in a worker process in the background, or check that the remote server runs that LLM.

    Raises:
        ConfigError: the server runs another model, or the engine's vectors differ too much from the bundle's.
        EncoderError: the engine is not exact, and the LLM cannot be loaded.
        EncoderUnavailableError: the server does not answer.
        OverloadedError: the server is busy.
    """
    metrics.max_queued_items.set(settings.max_queued_items)
    if settings.encoder_url is None:
        process = EncoderProcess(
            WorkerOptions(
                folder=bundle.folder / ENCODER_FOLDER,
                device=settings.device,
                engine=settings.encoder_engine,
                beginning=bundle.prompt.beginning,
                threads=settings.encoder_threads,
                nice=settings.encoder_nice,
                batch_tokens=settings.max_batch_tokens,
            ),
            verify=partial(verify_files, bundle.folder, bundle.manifest, ENCODER_FOLDER),
            max_items=settings.max_queued_items,
            timeout_seconds=settings.embed_timeout_seconds,
            metrics=metrics,
        )
        process.begin()
        if settings.encoder_engine not in EXACT_ENGINES:
            await _close_on_failure(process, _admit(process, bundle, settings))
        return process
    remote = RemoteEncoder(
        settings.encoder_url,
        model=settings.encoder_model,
        api_key=settings.encoder_api_key,
        width=bundle.manifest.encoder.width,
        max_items=settings.max_queued_items,
        timeout_seconds=settings.embed_timeout_seconds,
        metrics=metrics,
    )
    await _close_on_failure(remote, remote.check(bundle))
    return remote


async def _admit(process: EncoderProcess, bundle: Bundle, settings: Settings) -> None:
    await process.started()
    await require_admission(process, bundle, settings.encoder_engine, settings.max_queued_items)


async def _close_on_failure(encoder: PromptEncoder, check: Awaitable[None]) -> None:
    try:
        await check
    except BaseException:
        await encoder.close()
        raise
