"""The OpenAPI description: FastAPI's own, with every error as the problem it is."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import CONTENT_TYPE, PROBLEMS, Problem, ProblemFault

_REF = "#/components/schemas/{model}"
_EXAMPLE_ID = "7f2f9a5e-1b1c-4f0e-9d8e-0c6f5d3a2b1f"


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route that fails with `codes`, for its `responses`."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        content = {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}
        response = responses.setdefault(kind.status, {"description": kind.title, "content": {CONTENT_TYPE: content}})
        response["content"][CONTENT_TYPE]["examples"][code] = {"value": _example(code)}
        if code == "overloaded":
            response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return responses


def _example(code: str) -> dict[str, Any]:
    kind = PROBLEMS[code]
    return {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title[0].lower()}{kind.title[1:]}",
        "instance": f"urn:uuid:{_EXAMPLE_ID}",
        "code": code,
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the app's OpenAPI description, made once."""
    if app.openapi_schema is None:
        description = get_openapi(
            title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
        )
        schemas = description["components"]["schemas"]
        # The routes name `Problem` by reference only, so FastAPI does not know it.
        for model in (Problem, ProblemFault):
            schema = model.model_json_schema(ref_template=_REF)
            schema.pop("$defs", None)
            schemas[model.__name__] = schema
        app.openapi_schema = description
    return app.openapi_schema
