"""What is live is documented: every web socket and event stream that is served, and every subject of the shops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from starlette.routing import WebSocketRoute

from api.app import build
from api.ezout import streams
from api.ezout.parts import Shops
from api.msgxc import stream
from domain.shop import Addressed, Update, encode
from infra.eventstore.asyncapi import asyncapi
from infra.eventstore.catalogue import domain_catalogue
from processes.res import service as res
from tests.fixtures.tills import update
from tests.memory.site import site

SCHEMA = Path(__file__).parents[4] / "schema"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return asyncapi(domain_catalogue())


async def test_every_socket_that_is_served_is_in_both_documents(described: dict[str, Any]) -> None:
    """AsyncAPI has its frames, OpenAPI its address and parameters; event streams are in AsyncAPI, too."""
    openapi = msgspec.json.decode((SCHEMA / "openapi.json").read_bytes())
    async with site() as it:
        # A stand-in for the shops' log: nothing asks it.
        app = build(replace(it.parts, shops=cast("Shops", object())))
        served = {route.path for route in app.routes if isinstance(route, WebSocketRoute)}
    sockets = {
        channel["address"]
        for channel in described["channels"].values()
        if channel.get("servers") == [{"$ref": "#/servers/sockets"}]
    }
    assert served == {"/api/v2/connect/{vid}/{sid}", "/shops/{shop_id}/socket"}
    assert sockets == served | {stream.PATH, streams.EVENTS_PATH}
    assert set(openapi["x-websockets"]) == served
    after = openapi["x-websockets"][streams.SOCKET_PATH]["parameters"]
    assert {"shop_id", "after", "action", "session", "product", "access_token"} == {
        one["name"] for one in after
    }


def test_every_subject_of_the_res_service_is_described(described: dict[str, Any]) -> None:
    """What the service watches, as a pattern, is an address of the document."""
    addresses = [channel["address"] for channel in described["channels"].values()]
    for subject in (*res.WATCHES, res.CALLS):
        first = subject.partition("*")[0].partition(">")[0]
        assert any(address.startswith(first) for address in addresses), subject


@pytest.mark.parametrize("name", ["ShopUpdate", "ShopMessage"])
def test_what_is_published_is_as_the_document_says(name: str, described: dict[str, Any]) -> None:
    """Field for field, and each of its type."""
    body = (
        update(category_id="dairy") if name == "ShopUpdate" else {"shop_id": update()["shop_id"], "data": [1]}
    )
    kind = Update if name == "ShopUpdate" else Addressed
    message = msgspec.json.decode(msgspec.json.encode(body), type=kind)
    assert isinstance(message, Update | Addressed)
    published = msgspec.json.decode(encode(message))
    schema = described["components"]["schemas"][name]
    assert set(schema["required"]) <= set(published) <= set(schema["properties"])
    if name == "ShopUpdate":
        assert schema["properties"]["product_price"]["type"] == "number"
        assert isinstance(published["product_price"], float)
        assert published["create_time"] in schema["properties"]["create_time"]["description"]
        assert UUID(published["shop_id"])
