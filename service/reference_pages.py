"""docs/endpoints.md and docs/errors.md, made of the OpenAPI description.

`python -m service.reference_pages endpoints > docs/endpoints.md`, and the same with `errors`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from llmemb.api.base import CONTENT_TYPE
from service.app import create_app
from service.guard.access import Access, Open, needed_access
from service.problems import PROBLEMS
from service.settings import Settings

Schema = dict[str, JsonValue]

_ENDPOINTS_HEAD = """# Every endpoint

Made by `python -m service.reference_pages endpoints`; do not edit. [Calls with examples](api.md) has them in use,
`openapi.json` the same for programs, [every error](errors.md) what each can answer but what was asked for.
"""
_ERRORS_HEAD = """# Every error

Made by `python -m service.reference_pages errors`; do not edit.

Each is `application/problem+json`, with the code as `code` and at the end of `type`; behind the code is what to do
about it. Where `Retry-After` stands, the answer says after how many seconds to ask again.

| code | status | title | `Retry-After` | answered by |
|---|---|---|---|---|
"""
_EVERYWHERE = "every endpoint"


def description() -> Schema:
    """Return the OpenAPI description; it needs no bundle."""
    return create_app(Settings(bundle=Path())).openapi()


def endpoints_page(described: Schema) -> str:
    """Return the whole page: each endpoint with its role, parameters, body and answer."""
    schemas = _schema(_schema(described["components"])["schemas"])
    parts = [_ENDPOINTS_HEAD]
    for method, path, operation in _operations(described):
        parts.append(f"## {method} {path}\n")
        parts.append(f"{operation['summary']}. {_needs(needed_access(method, path))}\n")
        # What a function raises is for who reads the code; what a caller gets for it stands below.
        parts.append(f"{str(operation['description']).partition('Raises:')[0].rstrip()}\n")
        parts += _tables(operation)
        codes = ", ".join(f"[`{code}`](errors.md)" for code in _codes(operation))
        parts.append(f"Errors: {codes or 'none of its own'}.\n")
    models = sorted({name for _, _, operation in _operations(described) for name in _models(operation, schemas)})
    parts.append("# Bodies\n")
    for name in models:
        parts.append(f"## {name}\n")
        parts.append(_model_table(_schema(schemas[name])))
    return "\n".join(parts)


def errors_page(described: Schema) -> str:
    """Return the whole page: each problem's code with its status, its title, and who answers with it."""
    operations = list(_operations(described))
    rows = []
    for code, kind in PROBLEMS.items():
        there = [(f"{method} {path}", operation) for method, path, operation in operations if code in _codes(operation)]
        names = _EVERYWHERE if len(there) == len(operations) else ", ".join(f"`{name}`" for name, _ in there)
        answers = [_schema(_responses(operation)[str(kind.status)]) for _, operation in there]
        waits = any("Retry-After" in _schema(answer.get("headers", {})) for answer in answers)
        link = f"[`{code}`](api.md#{code}-{kind.status})"
        rows.append(f"| {link} | {kind.status} | {kind.title} | {'yes' if waits else ''} | {names or 'any path'} |\n")
    return _ERRORS_HEAD + "".join(rows)


def _operations(described: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in _schema(described["paths"]).items():
        for method, operation in _schema(methods).items():
            yield method.upper(), path, _schema(operation)


def _needs(access: Access) -> str:
    if access is Open.ANYONE:
        return "Needs no API key."
    return "Needs any API key." if access is Open.ANY_KEY else f"Needs the role `{access}`."


def _responses(operation: Schema) -> Schema:
    return _schema(operation["responses"])


def _codes(operation: Schema) -> list[str]:
    contents = (_schema(_schema(response).get("content", {})) for response in _responses(operation).values())
    examples = (_schema(_schema(content.get(CONTENT_TYPE, {})).get("examples", {})) for content in contents)
    return [code for named in examples for code in named]


def _tables(operation: Schema) -> list[str]:
    parts = []
    parameters = operation.get("parameters", [])
    assert isinstance(parameters, list)
    if parameters:
        rows = "".join(_parameter_row(_schema(parameter)) for parameter in parameters)
        parts.append(f"| parameter | where | type | default |\n|---|---|---|---|\n{rows}")
    links = {"Body": _body_schema(operation), "Answer": _answer_schema(operation)}
    said = [f"{title}: {_type(schema)}." for title, schema in links.items() if schema is not None]
    return [*parts, " ".join(said) + "\n"] if said else parts


def _parameter_row(parameter: Schema) -> str:
    schema = _schema(parameter["schema"])
    default = "must be given" if parameter.get("required") else _default(schema)
    return f"| `{parameter['name']}` | {parameter['in']} | {_type(schema)} | {default} |\n"


def _body_schema(operation: Schema) -> Schema | None:
    body = operation.get("requestBody")
    return None if body is None else _json_schema(_schema(body))


def _answer_schema(operation: Schema) -> Schema | None:
    good = [response for status, response in _responses(operation).items() if status.startswith("2")]
    return _json_schema(_schema(good[0])) if good else None


def _json_schema(holder: Schema) -> Schema | None:
    content = _schema(_schema(holder.get("content", {})).get("application/json", {}))
    schema = content.get("schema")
    return _schema(schema) if schema else None


def _models(operation: Schema, schemas: Schema) -> Iterator[str]:
    """Give the names of the models that a body or an answer is made of, those inside of others too."""
    waiting = [name for schema in (_body_schema(operation), _answer_schema(operation)) for name in _refs(schema)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += _refs(schemas[name])


def _refs(value: JsonValue) -> list[str]:
    if isinstance(value, list):
        return [name for each in value for name in _refs(each)]
    if not isinstance(value, dict):
        return []
    own = [str(value["$ref"]).rpartition("/")[2]] if "$ref" in value else []
    return own + [name for each in value.values() for name in _refs(each)]


def _model_table(model: Schema) -> str:
    rows = []
    required = model.get("required", [])
    assert isinstance(required, list)
    for name, value in _schema(model.get("properties", {})).items():
        field = _schema(value)
        default = "must be given" if name in required else _default(field)
        meaning = " ".join(str(field.get("description", "")).split())
        rows.append(f"| `{name}` | {_type(field)} | {default} | {meaning} |\n")
    table = "| member | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows)
    about = str(model.get("description", "")).strip()
    return f"{about}\n\n{table}" if about else table


def _default(schema: Schema) -> str:
    return f"`{schema['default']!r}`" if schema.get("default") is not None else ""


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word, joined in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")):
        if word in schema:
            choices = schema[word]
            assert isinstance(choices, list)
            return joined.join(_type(_schema(choice)) for choice in choices)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        assert isinstance(values, list)
        return " or ".join(f"`{value}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(_schema(schema.get('items', {})))}"
    return f"{schema.get('type', 'any')}"


def _schema(value: JsonValue) -> Schema:
    assert isinstance(value, dict)
    return value


if __name__ == "__main__":
    pages = {"endpoints": endpoints_page, "errors": errors_page}
    sys.stdout.write(pages[sys.argv[1]](description()))
