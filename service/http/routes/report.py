"""`GET /report`: the trainer's report on the bundle, where the settings name its file."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from llmemb.errors import ConfigError
from service.http.security_headers import POLICY_HEADER, page_policy

MAX_REPORT_BYTES = 64 * 1024 * 1024
"""It is kept in memory; those of the trainer have less than a megabyte."""


def report_routes(path: Path) -> APIRouter:
    """Read the report, and return the router that shows it as it was then.

    Raises:
        ConfigError: the file cannot be read, is none of text, or is too large.
    """
    html = _read(path)
    headers = {POLICY_HEADER: page_policy(html)}  # once: it looks through the whole page
    router = APIRouter(include_in_schema=False)

    @router.api_route("/report", methods=["GET", "HEAD"])
    async def report() -> HTMLResponse:
        """Show the report; `HEAD` tells whether there is one."""
        return HTMLResponse(html, headers=headers)

    return router


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_REPORT_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigError(f"LLMEMB_REPORT: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"LLMEMB_REPORT: {path} is not UTF-8") from error
    if len(content) > MAX_REPORT_BYTES:
        raise ConfigError(f"LLMEMB_REPORT: {path} has more than {MAX_REPORT_BYTES} bytes")
    return text
