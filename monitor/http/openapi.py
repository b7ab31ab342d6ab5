"""The OpenAPI document, made from the table of endpoints and the types that they answer with."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from monitor.http.endpoint import KEY, PREFIX, Endpoint, Problem

Json = dict[str, Any]

_COMMON = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_OF_CHANGES = (HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": f"^{KEY}$"},
    "description": "A word of your own for this one change. Asked again with it, within a day, you get the same answer,"
    " and nothing is done twice.",
}
_PLACE = re.compile(r"\{(\w+)(?::path)?\}")


def document(endpoints: Sequence[Endpoint], *, is_open: bool) -> Json:
    """The document, OpenAPI 3.1; `is_open` where everybody may look without a token."""
    queries = {endpoint.query for endpoint in endpoints}
    told = [Problem, *(endpoint.answer for endpoint in endpoints), *queries]
    asked = [body for endpoint in endpoints for body in endpoint.kinds.values()]
    (answers, named), (bodies, wanted) = (
        msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}") for types in (told, asked)
    )
    refs = dict(zip(map(id, [*told, *asked]), [*map(_infinite, answers), *bodies], strict=True))
    components = {name: _infinite(schema) for name, schema in named.items()} | wanted
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        path = PREFIX + _PLACE.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, refs, components)
    for query in queries:
        components.pop(query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tocsin",
            "version": version("tocsin"),
            "description": "Times are epoch seconds. A number that is infinite is null. A model that a token is not"
            " for does not exist for it.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}] if is_open else [{"token": []}],
    }


def _operation(endpoint: Endpoint, refs: dict[int, Json], components: Json) -> Json:
    words = re.findall(r"[a-z]+", _PLACE.sub(r"\1", endpoint.path))
    found: Json = {
        "summary": endpoint.summary,
        "operationId": "_".join([endpoint.method.lower(), *words]),
        "description": f"Needs the role {endpoint.role}, or one that may do the same.",
        "parameters": [
            *_in_path(endpoint),
            *_in_query(components[endpoint.query.__name__]),
            *([_KEY] if endpoint.changes else ()),
        ],
        "responses": {
            str(endpoint.status.value): {
                "description": "Done.",
                "content": {"application/json": {"schema": refs[id(endpoint.answer)]}},
            },
        },
    }
    for status in sorted({*_COMMON, *(_OF_CHANGES if endpoint.changes else ())}):
        content = {"application/problem+json": {"schema": refs[id(Problem)]}}
        found["responses"][str(status.value)] = {"description": status.phrase, "content": content}
    if endpoint.kinds:
        content = {kind: {"schema": refs[id(body)]} for kind, body in endpoint.kinds.items()}
        found["requestBody"] = {"content": content, "required": True}
    return found


def _in_path(endpoint: Endpoint) -> list[Json]:
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in _PLACE.findall(endpoint.path)]


def _in_query(schema: Json) -> list[Json]:
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": each}
        for name, each in schema.get("properties", {}).items()
    ]


def _infinite(node: Any) -> Any:  # noqa: ANN401 - any node of a schema
    """The schema with null wherever a number can be: JSON has no infinity, and null is what is sent for it."""
    if isinstance(node, list):
        return [_infinite(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _infinite(item) for key, item in node.items()}
    if made.get("type") == "number":
        made["type"] = ["number", "null"]
    return made
