"""The OpenAPI 3.1 document, made from the route table and its types: it says what is served, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from api.http.body import BodyTooSlow
from api.http.fields import FieldTwice, UnsupportedEncoding
from api.http.problem import MEDIA_TYPE, Problem
from api.route import Route, Who
from domain.errors import (
    Forbidden,
    Invalid,
    MsgxcError,
    TooLarge,
    TooMany,
    Unauthenticated,
)

_REF = "#/components/schemas/{name}"
WITHOUT_CONTENT = frozenset({204, 304})
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")

INTRODUCTION = """\
Messages to people, on every channel they allow. Send a JWT as `Authorization: Bearer <token>`.

A call that changes something answers `true`; a failure answers a problem (RFC 9457) whose `code` is stable and listed \
at [/docs/errors](/docs/errors). Calls marked so take an `Idempotency-Key`: the same call under the same key is \
carried out once, however often it is sent. Web sockets are under `x-websockets`; their frames in AsyncAPI.
"""

SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "HS256, RS256, ES256 or EdDSA; claims exp, sub or uid, and optionally realm, roles, method.",
}

DEVICE_SCHEME = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Client-State",
    "description": "As the last answer had it; in v4, ec-client-state. Beside it goes X-Client-Id (ec-client-id), and \
where there is a contact token, X-Contact-Token (ec-contact). Without a state the device is a new one.",
}

SCHEMES = {"token": SECURITY_SCHEME, "client_state": DEVICE_SCHEME}

CALLED_BY_SDKS = frozenset({"client service", "device events"})
"""Groups of calls that nobody writes by hand: described behind the others, however hot they are."""


def document(routes: Sequence[Route], *, version: str, sockets: Sequence[Route] = ()) -> dict[str, Any]:
    """A document of JSON values. sockets: web sockets, which OpenAPI has no words for."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MSGXC",
            "version": version,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": group} for group in _groups(routes)],
        "paths": paths,
        "x-websockets": {
            route.path: {"summary": route.summary, "tags": [route.group], "parameters": _parameters(route)}
            for route in sockets
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": SECURITY_SCHEME, "client_state": DEVICE_SCHEME},
        },
    }


def _groups(routes: Sequence[Route]) -> list[str]:
    """In the order in which they are to be read."""
    return sorted(dict.fromkeys(route.group for route in routes), key=CALLED_BY_SDKS.__contains__)


def _types(routes: Sequence[Route]) -> list[Any]:
    found: dict[str, Any] = {_key(Problem): Problem}
    for route in routes:
        failure = route.dialect.failure if route.dialect is not None else None
        for type in (route.body, route.query, route.answer, failure):
            if type is not None:
                found[_key(type)] = type
    return list(found.values())


def _key(type: Any) -> str:
    return repr(type)


def _operation(route: Route, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "summary": route.summary,
        "description": f"Who may call it: {route.who.value}.",
        "tags": [route.group],
        "parameters": _parameters(route),
        "responses": _responses(route, schema_of),
        "security": _security(route),
    }
    if route.body is not None:
        content = {"application/json": {"schema": schema_of[_key(route.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.who is Who.DEVICE:
        return [{"client_state": []}, {}]
    return [] if route.is_open else [{"token": []}]


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    if route.query is not None:
        found += _query_parameters(route.query)
    if route.idempotent:
        schema = {"type": "string", "pattern": "^[!-~]{1,255}$"}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema})
    return found


def _query_parameters(type: type[msgspec.Struct]) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([type], ref_template=_REF)
    schema = components[type.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _not_null(of)}
        for name, of in schema["properties"].items()
    ]


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out rather than null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    return {**options[0], **{key: value for key, value in schema.items() if key not in {"anyOf", "default"}}}


def _responses(route: Route, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    found = {str(status): _success(route, status, schema_of) for status in route.statuses}
    by_status: dict[int, list[type[MsgxcError]]] = {}
    for error in _errors(route):
        status = error.status if route.dialect is None else route.dialect.status(error)
        by_status.setdefault(status, []).append(error)
    for status, errors in sorted(by_status.items()):
        titles = "; ".join(f"{error.title} (`{error.code}`)" for error in dict.fromkeys(errors))
        found.setdefault(str(status), _failure(route, titles, schema_of))
    return found


def _errors(route: Route) -> list[type[MsgxcError]]:
    """What any route of this kind can answer, and what this one declares."""
    found: list[type[MsgxcError]] = list(route.errors)
    if route.who is Who.DEVICE:
        # Its tokens are not wanted everywhere, nor is everything counted: its routes say so themselves.
        found.append(FieldTwice)
    elif not route.is_open:
        found += [Unauthenticated, TooMany, FieldTwice]
    if route.who in (Who.ADMIN, Who.SUPERUSER):
        found.append(Forbidden)
    if route.body is not None or route.refuses_body:
        found += [Invalid, TooLarge, BodyTooSlow]
    if route.body is not None:
        found.append(UnsupportedEncoding)
    if route.query is not None or route.idempotent or route.is_exact:
        found.append(Invalid)
    return [*found, MsgxcError]


def _success(route: Route, status: int, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "headers": {"X-Request-Id": {"schema": {"type": "string"}}},
    }
    if route.answer is not None and status not in WITHOUT_CONTENT:
        response["content"] = {route.media_type: {"schema": schema_of[_key(route.answer)]}}
    if route.location:
        response["headers"]["Location"] = {
            "description": "The address of what was made, if anything was.",
            "schema": {"type": "string"},
        }
    return response


def _failure(route: Route, description: str, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    dialect = route.dialect
    kind = Problem if dialect is None else dialect.failure
    media_type = MEDIA_TYPE.decode() if dialect is None else dialect.failure_type
    return {"description": description, "content": {media_type: {"schema": schema_of[_key(kind)]}}}
