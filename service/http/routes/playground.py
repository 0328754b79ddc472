"""`GET /`: the playground, from files of our own in `service/playground/`."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from service.http.security_headers import FILES_POLICY, POLICY_HEADER

ASSETS_PATH = "/playground"

router = APIRouter(include_in_schema=False)

_FOLDER = Path(str(files("service") / "playground"))


def playground_assets() -> StaticFiles:
    """Return an app that serves the playground's scripts, style and icon."""
    return StaticFiles(directory=_FOLDER)


@router.api_route("/", methods=["GET", "HEAD"])
async def playground() -> FileResponse:
    """Show what the service does, by doing it; the page asks the API, with a key where one is needed."""
    return FileResponse(_FOLDER / "index.html", headers={POLICY_HEADER: FILES_POLICY})
