"""The base classes of all bodies, and errors in the format of RFC 9457."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticUseDefault
from pydantic_core.core_schema import no_info_after_validator_function, nullable_schema


class RequestBody(BaseModel):
    """A request body: unknown members are rejected, and values are not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class ResponseBody(BaseModel):
    """A response body; a client accepts members that it does not know."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL = BeforeValidator(_integral)
"""Last in an `Annotated[int, ...]`: lets it be an integer as JSON Schema has it, where 1.0 is one."""


class _NullIsLeftOut:
    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        # `nullable` is compiled code. A validator before the value's own would first make a Python object of its JSON.
        return no_info_after_validator_function(_default_if_null, nullable_schema(handler(source)))


def _default_if_null(value: object) -> object:
    if value is None:
        raise PydanticUseDefault
    return value


NULL_IS_LEFT_OUT = _NullIsLeftOut()
"""Last in an `Annotated` with a default: null gives the default. Generated clients send each optional member, as null
if their caller left it out. A member whose default is None needs no such mark."""

_VALUE = [{"type": "string"}, {"type": "number"}, {"type": "null"}]
AttributesBody = Annotated[
    dict[str, Any],  # checked by llmemb.item.parse_attributes, whose messages say more
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": r"\S"},
            "additionalProperties": {"anyOf": [*_VALUE, {"type": "array", "items": {"anyOf": _VALUE}}]},
            "description": "Attribute name -> a string, a number or a list of these; the names are the bundle's own, "
            "see `/info`. `null`, an empty string and an empty list mean that the attribute is missing.",
        }
    ),
]


CONTENT_TYPE = "application/problem+json"


class ProblemFault(BaseModel):
    """One error in a request."""

    loc: list[str | int]
    """Its location, such as `["body", "items", 3, "id"]`."""
    msg: str
    type: str


class Problem(BaseModel):
    """An error in the format of RFC 9457. A code may add members; `docs/api.md` lists them."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    type: str
    """`/problems/` and the code."""
    title: str
    status: int
    detail: str
    """What is wrong with this request, in a sentence."""
    instance: str
    """`urn:uuid:` and the id of the request, also in the response's `X-Request-Id` and in the log."""
    code: str
    """The kind of problem, for programs; it does not change."""
    errors: list[ProblemFault] | None = None
    """The first 100 errors in the request; only if the request is invalid."""
