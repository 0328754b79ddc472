"""Pages for people: `/docs`, the playground at `/`, and the trainer's report at `/report`."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from llmemb.errors import ConfigError
from llmemb_service.http.middleware.headers import FILES_POLICY, POLICY_HEADER, page_policy

ASSETS_PATH = "/docs/assets"

router = APIRouter(include_in_schema=False)


def swagger_assets() -> StaticFiles:
    """Return an app that serves Swagger UI's script, style and icon."""
    return StaticFiles(directory=str(files("fastapi_swagger") / "resources"))


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the API, with examples to send."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="LLMEmb",
        swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_PATH}/favicon-32x32.png",
        # By default, Swagger UI sends the description to a validator on another host.
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers[POLICY_HEADER] = page_policy(bytes(page.body).decode())
    return page


_FOLDER = Path(str(files("llmemb_service") / "playground"))
_FILES = StaticFiles(directory=_FOLDER)
_READ = ["GET", "HEAD"]


@router.api_route("/", methods=_READ)
async def playground(request: Request) -> Response:
    """Show the playground, a page that calls the API, with an API key if one is needed."""
    page = await _FILES.get_response("index.html", request.scope)
    page.headers[POLICY_HEADER] = FILES_POLICY
    return page


@router.api_route("/playground/{path:path}", methods=_READ)
async def playground_file(path: str, request: Request) -> Response:
    """Return one of the page's scripts, styles or icons."""
    # A route, not a mount, so that it has a name in logs and metrics.
    return await _FILES.get_response(path, request.scope)


MAX_REPORT_BYTES = 64 * 1024 * 1024
"""The report is kept in memory. A usual one has less than a megabyte."""


def report_routes(path: Path) -> APIRouter:
    """Read the report and return the router that shows it; later changes of the file have no effect.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8 text, or is too large.
    """
    html = _read(path)
    headers = {POLICY_HEADER: page_policy(html)}  # computed once, because it parses the whole page
    router = APIRouter(include_in_schema=False)

    @router.api_route("/report", methods=["GET", "HEAD"])
    async def report() -> HTMLResponse:
        """Show the report; `HEAD` checks whether there is one."""
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
