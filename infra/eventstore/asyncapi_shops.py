"""The shops' part of the AsyncAPI document: the archive's subject, what streams show, and the RES service. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from domain.shop import Addressed, Update

_REF = "#/components/schemas/{name}"
_SHOP = {"description": "the shop's UUID, with dashes and in small letters"}
_AMOUNT = {"type": "number", "minimum": 0, "description": "exact; without idle zeros: 3.50 is 3.5"}
_TIME = {"type": "string", "description": "in UTC: 2023-12-18 10:30:00+00:00"}
_STREAMS = [{"$ref": "#/servers/sockets"}]
_LOG = [{"$ref": "#/servers/log"}]


def shop_schemas() -> dict[str, Any]:
    """ShopUpdate and ShopMessage as they stand on the log; ShopFrame as sockets show them."""
    _, found = msgspec.json.schema_components([Update, Addressed], ref_template=_REF)
    update, message = found["Update"], found["Addressed"]
    told = {"product_price": _AMOUNT, "basket_total": _AMOUNT, "create_time": _TIME}
    update = {**update, "title": "ShopUpdate", "properties": {**update["properties"], **told}}
    message = {**message, "title": "ShopMessage"}
    return {"ShopUpdate": update, "ShopMessage": message, "ShopFrame": _frame()}


def shop_channels() -> dict[str, Any]:
    shown = {
        "update": {"payload": {"$ref": "#/components/schemas/ShopUpdate"}},
        "message": {"payload": {"$ref": "#/components/schemas/ShopMessage"}},
    }
    frames = {"frame": {"payload": {"$ref": "#/components/schemas/ShopFrame"}}}
    stored = {
        name: {**of, "headers": {"$ref": "#/components/schemas/Envelope"}} for name, of in shown.items()
    }
    return {
        "updates-store": _channel("updates.store.{shop}", stored, "what tills publish; the archive", _LOG),
        "live-updates-store": _channel(
            "live.updates.store.{shop}",
            stored,
            "the same, republished with Nats-Sequence and Nats-Last-Sequence, by which a gap shows",
            _LOG,
        ),
        "shop-socket": _channel(
            "/shops/{shop_id}/socket", frames, "a shop live; `after` brings what was missed", _STREAMS
        ),
        "shop-stream": _channel(
            "/shops/{shop_id}/stream",
            shown,
            "the same by server-sent events `open`, `update`, `message` and `close`; Last-Event-ID resumes",
            _STREAMS,
        ),
        **_res_channels(),
    }


def _res_channels() -> dict[str, Any]:
    """RES service protocol 1.2: https://resgate.io/docs/specification/res-service-protocol/."""
    told: Mapping[str, tuple[str, str]] = {
        "res-get": ("get.updates.store.{shop}", "the last 50 as a collection of data values"),
        "res-access": ("access.updates.store.{shop}", "what a connection's token allows"),
        "res-call": (
            "call.updates.store.{shop}.{method}",
            "publish and send, with the bodies of the API's calls, and an idempotency_key beside their fields",
        ),
        "res-auth": ("auth.updates.{method}", "login, with a token in params or in the Authorization header"),
        "res-event": ("event.updates.store.{shop}.{event}", "add and remove, in the order of the collection"),
        "res-token": (
            "conn.{cid}.token",
            "a connection's token, given at its login and taken back at its end",
        ),
        "res-reset": ("system.reset", "events may have been lost: ask again"),
    }
    message = {"message": {"payload": {}, "summary": "as the RES service protocol says"}}
    return {name: _channel(address, message, says, _LOG) for name, (address, says) in told.items()}


_PARAMETERS = {
    "shop": _SHOP,
    "shop_id": _SHOP,
    "method": {"description": "what is called"},
    "event": {"enum": ["add", "remove"]},
    "cid": {"description": "the gateway's id of a connection"},
}


def _channel(
    address: str, messages: Mapping[str, Any], says: str, servers: list[dict[str, str]]
) -> dict[str, Any]:
    names = [part.partition("}")[0] for part in address.split("{")[1:]]
    channel = {"address": address, "description": says, "messages": dict(messages), "servers": servers}
    return channel | ({"parameters": {name: _PARAMETERS[name] for name in names}} if names else {})


def _frame() -> dict[str, Any]:
    data = [{"$ref": "#/components/schemas/ShopUpdate"}, {"$ref": "#/components/schemas/ShopMessage"}]
    return {
        "type": "object",
        "required": ["type", "id"],
        "properties": {
            "type": {"enum": ["open", "update", "message", "beat"]},
            "id": {"type": "string", "description": "where `after` goes on"},
            "data": {"oneOf": data, "description": "of an update or a message"},
        },
    }
