"""`GET /docs`: Swagger UI from files of our own, so that the page asks no other host."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from service.http.security_headers import POLICY_HEADER, page_policy

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
        # Unless told not to, it sends the description to a validator on another host.
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers[POLICY_HEADER] = page_policy(bytes(page.body).decode())
    return page
