"""The OpenAPI description: FastAPI's own, with every error as the problem it is."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from llmemb.api.problem import CONTENT_TYPE, Problem, ProblemFault
from service.errors import RetryLaterError
from service.http.guard_description import add_rate_limit_headers, add_security, refusals
from service.http.problems import PROBLEMS

_RETRY_LATER = frozenset(kind.code for kind in RetryLaterError.__subclasses__())
_REF = "#/components/schemas/{model}"
_EXAMPLE_ID = "7f2f9a5e-1b1c-4f0e-9d8e-0c6f5d3a2b1f"
_TAGS = [
    {"name": "recommendations", "description": "The next items after a history or a session."},
    {"name": "sessions", "description": "Histories that the service keeps."},
    {"name": "items", "description": "The live catalogue, and embeddings of items."},
    {"name": "embeddings", "description": "Embeddings of texts, as OpenAI's API has it."},
    {"name": "admin", "description": "Bundles while the service runs."},
    {"name": "operations", "description": "What operators and machines ask."},
]


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers of a route that fails with `codes`, for its `responses`."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        content = {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}
        response = responses.setdefault(kind.status, {"description": kind.title, "content": {CONTENT_TYPE: content}})
        response["content"][CONTENT_TYPE]["examples"][code] = {"value": _example(code)}
        if code in _RETRY_LATER:
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
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=_TAGS,
        )
        schemas = description["components"]["schemas"]
        # The routes name `Problem` by reference only, so FastAPI does not know it.
        for model in (Problem, ProblemFault):
            schema = model.model_json_schema(ref_template=_REF)
            schema.pop("$defs", None)
            schemas[model.__name__] = schema
        for default in ("HTTPValidationError", "ValidationError"):
            schemas.pop(default, None)
        add_security(description)
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                _drop_default(operation["responses"])
                codes = refusals(method, path, has_body="requestBody" in operation)
                _add_responses(operation["responses"], problem_responses(*codes))
        add_rate_limit_headers(description)
        app.openapi_schema = description
    return app.openapi_schema


def _drop_default(responses: dict[str, Any]) -> None:
    """Drop FastAPI's own 422, which it gives to every route with a parameter that names none: ours is a problem."""
    if CONTENT_TYPE not in responses.get("422", {}).get("content", {CONTENT_TYPE: None}):
        del responses["422"]


def _add_responses(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    """Add the problems of `more` to those that a route names itself."""
    for status, response in more.items():
        known = responses.setdefault(str(status), response)
        if known is not response:
            known["content"][CONTENT_TYPE]["examples"] |= response["content"][CONTENT_TYPE]["examples"]
            if "headers" in response:
                known["headers"] = response["headers"]
