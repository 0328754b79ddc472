"""The OpenAPI description as it stands for one bundle and its settings: what the service says in `/info`, said in JSON
Schema, so that a request that the narrowed description allows is a request that the service must take.
"""

import copy
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

_TEXT: Json = {"type": "string", "pattern": r"\S"}
_ANY_VALUE = {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}


def narrowed(description: Json, *, known_ids: Sequence[str], own_ids: Sequence[str], max_k: int) -> Json:
    """Return the description with what only a running service can know.

    Args:
        description: the service's own; it is not changed.
        known_ids: items of the bundle, none of which is removed; histories are made of them.
        own_ids: ids for items to put and remove.
        max_k: the setting.
    """
    narrow = copy.deepcopy(description)
    schemas = narrow["components"]["schemas"]
    for name in ("ItemBody", "PutItemRequest", "HistoryItem"):
        schemas[name]["properties"]["attributes"] = _attributes()
    # An id may come once in a request, which JSON Schema cannot say.
    schemas["EmbedItemsRequest"]["properties"]["items"]["maxItems"] = 1
    schemas["ItemBody"]["properties"]["id"] = {"enum": list(own_ids)}
    schemas["Event"]["properties"]["item_id"] = {"enum": list(known_ids)}
    schemas["EmbeddingsRequest"]["properties"].pop("dimensions")
    schemas["EmbeddingsRequest"]["properties"]["input"] = {
        "anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]
    }
    patch = schemas["PatchItemRequest"]["properties"]
    schemas["PatchItemRequest"]["anyOf"] = [
        {"required": [name], "properties": {name: {**content, "anyOf": content["anyOf"][:1]}}}
        for name, content in patch.items()
    ]
    _narrow_recommend(schemas, known_ids, max_k)
    for path, operations in narrow["paths"].items():
        for method, operation in operations.items():
            # Keys are in force: the way without one is not.
            operation["security"] = [way for way in operation["security"] if way]
            changes = method in {"put", "delete"}
            _narrow_parameters(path, operation.get("parameters", []), own_ids if changes else known_ids, max_k)
    return narrow


def _attributes() -> Json:
    values: Json = {**_ANY_VALUE, "anyOf": [*_ANY_VALUE["anyOf"], {"type": "array", "items": _ANY_VALUE}]}
    return {
        "type": "object",
        "properties": {"title": _TEXT, "release_year": values, "genres": values},
        "required": ["title"],
        "additionalProperties": False,
    }


def _narrow_recommend(schemas: Json, known_ids: Sequence[str], max_k: int) -> None:
    """Have each request bring either a history of known ids or a session."""
    request = schemas["RecommendRequest"]
    entries = {"anyOf": [{"enum": list(known_ids)}, {"$ref": "#/components/schemas/HistoryItem"}]}
    request["properties"]["k"]["maximum"] = max_k
    # Tiny bundles have no semantic term, and their ids are hashes.
    request["properties"]["strategy"] = {"enum": ["all", "collaborative", "popular", None]}
    request["properties"]["bundle_id"] = {"type": "null"}
    by_history, by_session = copy.deepcopy(request), copy.deepcopy(request)
    by_history["properties"] |= {"history": {"type": "array", "items": entries}}
    del by_history["properties"]["session_id"]
    by_history["required"] = ["history"]
    del by_session["properties"]["history"]
    by_session["properties"]["session_id"] = {"enum": ["a-session", "another:1"]}
    by_session["required"] = ["session_id"]
    schemas["RecommendRequest"] = {"oneOf": [by_history, by_session]}


def _narrow_parameters(path: str, parameters: list[Json], item_ids: Sequence[str], max_k: int) -> None:
    for parameter in parameters:
        if parameter["name"] == "item_id":
            parameter["schema"] = {"enum": list(item_ids)}
        elif parameter["name"] in {"k", "limit"}:
            parameter["schema"]["maximum"] = max_k
    # A cursor is what the page before gave.
    parameters[:] = [parameter for parameter in parameters if parameter["name"] != "cursor"]
