"""`GET /`: the playground, from files of our own in `service/playground/`."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

from service.http.security_headers import FILES_POLICY, POLICY_HEADER

router = APIRouter(include_in_schema=False)

_FOLDER = Path(str(files("service") / "playground"))
_FILES = StaticFiles(directory=_FOLDER)
_READ = ["GET", "HEAD"]


@router.api_route("/", methods=_READ)
async def playground(request: Request) -> Response:
    """Show what the service does, by doing it; the page asks the API, with a key where one is needed."""
    page = await _FILES.get_response("index.html", request.scope)
    page.headers[POLICY_HEADER] = FILES_POLICY
    return page


@router.api_route("/playground/{path:path}", methods=_READ)
async def playground_file(path: str, request: Request) -> Response:
    """Give one of the page's scripts, its style or its icon."""
    # A route and no mount, so that logs and metrics have a name for it.
    return await _FILES.get_response(path, request.scope)
