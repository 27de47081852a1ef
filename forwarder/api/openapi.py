"""The API's description (OpenAPI 3.1), made from the route tables themselves."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from forwarder.api.operation import Operation, json
from forwarder.ops.build import version
from forwarder.ops.refusals import ErrorBody

PATH = "/api/v2/openapi.json"
_REF = "#/components/schemas/{name}"
_ANY_REQUEST = (401, 403, 429, 503)
_WITH_BODY = (400, 413, 415)
_MEANINGS = {
    400: "The request is wrong; every field that is wrong is named.",
    401: "There is no valid token.",
    403: "The token does not allow it, or none is set.",
    404: "There is no such thing.",
    409: "It is in conflict with what is there, or the files cannot be written.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    429: "Too many wrong tokens came from this address.",
    503: "It cannot be done now; ask again.",
}


def operation(described: Sequence[Operation]) -> Operation:
    """The route that serves the description of these operations and of itself."""

    async def handler(_request: web.Request) -> web.Response:
        return json(document)

    own = Operation("GET", PATH, "getOpenapi", "This description", handler, dict[str, Any])
    document = describe([*described, own])
    return own


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    types = [part for each in operations for part in (each.answer, each.body) if part and not isinstance(part, str)]
    _, components = msgspec.json.schema_components([*types, ErrorBody], ref_template=_REF)
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "forwarder",
            "version": version(),
            "description": "The integrations API of Genesys Cloud, as far as the Amazon EventBridge source needs it, "
            "and what this daemon has besides.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(each: Operation) -> Mapping[str, Any]:
    refusals = {*each.refusals, *_ANY_REQUEST, *((400,) if each.query else ()), *(_WITH_BODY if each.body else ())}
    found: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "responses": {
            "200": {"description": "Done.", "content": _answer(each.answer)},
            **{str(status): _refusal(status) for status in sorted(refusals)},
        },
    }
    if parameters := [*_path_parameters(each.path), *_query_parameters(each.query)]:
        found["parameters"] = parameters
    if each.body:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(each.body)}}}
    return found


def _answer(kind: Any) -> Mapping[str, Any]:
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": _schema(kind)}}


def _refusal(status: int) -> Mapping[str, Any]:
    return {"description": _MEANINGS[status], "content": {"application/json": {"schema": _schema(ErrorBody)}}}


def _path_parameters(path: str) -> list[Mapping[str, Any]]:
    names = re.findall(r"\{(\w+)\}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(cls: type[msgspec.Struct] | None) -> list[Mapping[str, Any]]:
    fields = msgspec.structs.fields(cls) if cls else ()
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": _schema(field.type),
            "explode": False,
        }
        for field in fields
    ]


def _schema(kind: Any) -> Mapping[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema
