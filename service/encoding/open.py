"""The encoder that the settings ask for."""

from llmemb.bundle import Bundle
from llmemb.bundle.bundle import ENCODER_FOLDER
from service.encoding.encoder_process import EncoderProcess
from service.encoding.prompt_encoder import PromptEncoder
from service.encoding.remote import RemoteEncoder
from service.encoding.worker import WorkerOptions
from service.settings import Settings
from service.sight.metrics import Metrics


async def open_prompt_encoder(settings: Settings, bundle: Bundle, metrics: Metrics) -> PromptEncoder:
    """Start the bundle's LLM in a process of its own, or hold the server that has it against the bundle.

    Raises:
        ConfigError: the server has another model.
        EncoderError: the LLM cannot be loaded, or not on the device.
        EncoderUnavailableError: the server does not answer.
        OverloadedError: the server has no room.
    """
    metrics.queue_max_items.set(settings.queue_max_items)
    if settings.encoder_url is None:
        process = EncoderProcess(
            WorkerOptions(
                folder=bundle.folder / ENCODER_FOLDER,
                device=settings.device,
                engine=settings.encoder_engine,
                beginning=bundle.prompt.beginning,
                threads=settings.encoder_threads,
                nice=settings.encoder_nice,
                batch_tokens=settings.batch_tokens,
            ),
            max_items=settings.queue_max_items,
            timeout_seconds=settings.embed_timeout_seconds,
            metrics=metrics,
        )
        await process.start()
        return process
    remote = RemoteEncoder(
        settings.encoder_url,
        model=settings.encoder_model,
        api_key=settings.encoder_api_key,
        width=bundle.manifest.encoder.width,
        max_items=settings.queue_max_items,
        timeout_seconds=settings.embed_timeout_seconds,
        metrics=metrics,
    )
    try:
        await remote.check(bundle)
    except BaseException:
        await remote.close()
        raise
    return remote
