"""A route for small bodies that come often: the body is read and checked in one step, and nothing else is looked up."""

from collections.abc import Callable, Coroutine
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

JSON = "application/json"


class LeanRoute(APIRoute):
    """Calls `endpoint(body=..., request=...)`, which has no other parameters and returns a `Response`.

    Reading JSON, checking it and looking up dependencies take FastAPI longer than a recommendation takes. A body that
    pydantic can read as it came needs none of that. Any other goes FastAPI's way, so faults are found and told as on
    every other route, and the description is FastAPI's own.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        fastapi_way = super().get_route_handler()
        endpoint, model = self.endpoint, _body_model(self.endpoint)

        async def handle(request: Request) -> Response:
            if request.headers.get("content-type") != JSON:
                return await fastapi_way(request)
            try:
                body = model.model_validate_json(await request.body())
            except ValidationError:
                return await fastapi_way(request)
            response: Response = await endpoint(body=body, request=request)
            return response

        return handle


def _body_model(endpoint: Callable[..., Any]) -> type[BaseModel]:
    annotation = endpoint.__annotations__["body"]
    model: type[BaseModel] = next(iter(get_args(annotation)), annotation)
    return model
