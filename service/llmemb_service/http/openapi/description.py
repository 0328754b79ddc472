"""The OpenAPI description: FastAPI's own, plus problem responses, security schemes and rate limit headers."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from llmemb.api.base import CONTENT_TYPE, Problem, ProblemFault
from llmemb_service.errors import RetryLaterError
from llmemb_service.guard.access import UNLIMITED_PATHS, Open, needed_access
from llmemb_service.guard.key_middleware import KEY_HEADER
from llmemb_service.guard.rate_limits import LIMIT_HEADER, REMAINING_HEADER, RESET_HEADER
from llmemb_service.problems import PROBLEMS

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer KEY`."},
    "api_key": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "The same key in a header."},
}
_HEADERS = {
    LIMIT_HEADER: "Maximum number of requests per minute.",
    REMAINING_HEADER: "Requests that the caller can send now.",
    RESET_HEADER: "Seconds until the whole limit is available again; in a `rate_limited` answer, as `Retry-After`.",
}
_SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}, {}]


def add_security(description: dict[str, Any]) -> None:
    """Add the security schemes, and list those of each operation."""
    description["components"]["securitySchemes"] = _SCHEMES
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            access = needed_access(method.upper(), path)
            operation["security"] = [] if access is Open.ANYONE else _SECURITY


def add_rate_limit_headers(description: dict[str, Any]) -> None:
    """Add the rate limit headers to successes and 429; adding them to every other error would triple the text."""
    description["components"]["headers"] = {
        name: {
            "description": f"{text} Sent with every answer if a rate limit is set.",
            "schema": {"type": "integer"},
        }
        for name, text in _HEADERS.items()
    }
    for path, methods in description["paths"].items():
        if path in UNLIMITED_PATHS:
            continue
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status.startswith("2") or status == "429":
                    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
                    response["headers"] = response.get("headers", {}) | headers


def refusals(method: str, path: str, has_body: bool) -> list[str]:
    """Return the problem codes with which the middleware may refuse an operation."""
    codes = []
    access = needed_access(method.upper(), path)
    if access is not Open.ANYONE:
        codes.append("unauthorized")
    if access is not Open.ANYONE and access is not Open.ANY_KEY:
        codes.append("forbidden")
    if has_body:
        codes += ("body_timeout", "unsupported_encoding")
    if path not in UNLIMITED_PATHS:
        codes.append("rate_limited")
    return codes


_RETRY_LATER = frozenset(kind.code for kind in RetryLaterError.__subclasses__())
_REF = "#/components/schemas/{model}"
_EXAMPLE_ID = "7f2f9a5e-1b1c-4f0e-9d8e-0c6f5d3a2b1f"
_TAGS = [
    {"name": "recommendations", "description": "The next items after a history or a session."},
    {"name": "sessions", "description": "Histories that the service stores."},
    {"name": "items", "description": "The live catalogue, and embeddings of items."},
    {"name": "embeddings", "description": "Embeddings of texts, compatible with OpenAI's API."},
    {"name": "admin", "description": "Load, roll back and compare bundles while the service runs."},
    {"name": "operations", "description": "Health, readiness, status and metrics."},
]


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can fail with `codes`."""
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
    """Return the app's OpenAPI description, computed once."""
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
    """Drop FastAPI's default 422, which it adds to every route with parameters unless the route names its own."""
    if CONTENT_TYPE not in responses.get("422", {}).get("content", {CONTENT_TYPE: None}):
        del responses["422"]


def _add_responses(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    """Add the problems of `more` to those that the route names itself."""
    for status, response in more.items():
        known = responses.setdefault(str(status), response)
        if known is not response:
            known["content"][CONTENT_TYPE]["examples"] |= response["content"][CONTENT_TYPE]["examples"]
            if "headers" in response:
                known["headers"] = response["headers"]
