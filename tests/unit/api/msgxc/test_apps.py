"""Apps over REST: what an operator sets, sees and is told."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from api.access.limits import BODY_BYTES_MAX
from api.msgxc.app_bodies import SETTINGS_BYTES_MAX, AppView, PutAppBody
from domain.devices.geofence import FENCES_MAX
from domain.recorded import EVENTS
from tests.memory.site import Site, site

TRIGGER = {
    "id": "t1",
    "type": "DWELLING",
    "loiteringDelay": 60000,
    "action": {"type": "MECustomEvent", "name": "x"},
}
FENCE = {"id": "f1", "lat": 48.2, "lon": 16.37, "r": 150, "waitInterval": 30, "triggers": [TRIGGER]}
GEOFENCES = {"refreshRadiusRatio": 0.5, "groups": [{"id": "g1", "waitInterval": 60, "geofences": [FENCE]}]}


async def app_of(it: Site, code: str) -> AppView:
    return msgspec.convert(await it.admin("GET", f"/api/v2/apps/{code}"), AppView)


async def refused(it: Site, method: str, path: str, body: Any, **options: Any) -> tuple[int, str, str]:
    """Status, code and field of a call that must fail, as RFC 9457 has it."""
    got = await it.call(method, path, body, **{"by": "boss", "role": "admin", **options})
    assert got.status_code >= 400, got.text
    assert got.headers["content-type"] == "application/problem+json"
    problem = got.json()
    return got.status_code, problem["code"], problem.get("field", "")


async def test_an_app_is_registered_found_changed_and_retired() -> None:
    """Each answer knows of the write before it; the settings are as they were sent, geofences to the letter."""
    async with site() as it:
        body = {"code": "Shop-1", "name": "Shop", "default_contact_field": 3, "geofences": GEOFENCES}
        got = await it.call("POST", "/api/v2/apps", body, by="boss", role="admin")
        assert (got.status_code, got.headers["location"]) == (201, "/api/v2/apps/Shop-1")
        shown = await it.admin("GET", "/api/v2/apps/shop-1")
        assert shown["geofences"] == GEOFENCES
        assert (shown["code"], shown["merchant"], shown["name"]) == ("Shop-1", "main", "Shop")
        assert shown["retired"] is None
        await it.admin("PUT", "/api/v2/apps/SHOP-1", {"name": "New", "anonymous_allowed": False})
        changed = await app_of(it, "Shop-1")
        assert (changed.name, changed.anonymous_allowed, changed.default_contact_field) == (
            "New",
            False,
            None,
        )
        await it.admin("DELETE", "/api/v2/apps/Shop-1")
        assert (await app_of(it, "Shop-1")).retired is not None
        again = await refused(it, "PUT", "/api/v2/apps/Shop-1", {"name": "Back"})
        assert again == (409, "conflict", "code")


async def test_what_is_shown_can_be_sent_back() -> None:
    """An operator edits what GET says and PUTs it: what is not a setting is passed over, and nothing changes."""
    async with site() as it:
        await it.admin(
            "POST", "/api/v2/apps", {"code": "SHOP", "geofences": GEOFENCES, "push": {"style": "msgxc"}}
        )
        shown = await it.admin("GET", "/api/v2/apps/SHOP")
        before = len(it.world.facts(EVENTS))
        await it.admin("PUT", "/api/v2/apps/SHOP", shown)
        assert len(it.world.facts(EVENTS)) == before


async def test_an_app_may_have_as_many_geofences_as_there_may_be() -> None:
    """A thousand are more than other bodies may have; registered, shown and sent back."""
    async with site() as it:
        triggers = [{**TRIGGER, "id": each} for each in ("t1", "t2", "t3")]
        place = {**FENCE, "triggers": triggers}
        some = [{**place, "id": f"shop-{number}-{uuid4()}"} for number in range(FENCES_MAX)]
        geofences = {**GEOFENCES, "groups": [{"id": "g1", "waitInterval": 60, "geofences": some}]}
        body = {"code": "SHOP", "name": "x" * 200, "geofences": geofences}
        assert BODY_BYTES_MAX < len(json.dumps(body)) < SETTINGS_BYTES_MAX
        got = await it.call("POST", "/api/v2/apps", body, by="boss", role="admin")
        assert got.status_code == 201, got.text
        shown = await it.admin("GET", "/api/v2/apps/SHOP")
        assert len(shown["geofences"]["groups"][0]["geofences"]) == FENCES_MAX
        await it.admin("PUT", "/api/v2/apps/SHOP", {**shown, "name": "New"})
        assert (await app_of(it, "SHOP")).name == "New"
        too_large = {"name": "x" * SETTINGS_BYTES_MAX}
        assert (await refused(it, "PUT", "/api/v2/apps/SHOP", too_large))[:2] == (413, "too-large")


async def test_put_registers_what_is_not_there() -> None:
    """201 and Location the first time, 200 afterwards; twice the same is one event."""
    async with site() as it:
        for status in (201, 200):
            got = await it.call("PUT", "/api/v2/apps/SHOP", {"name": "Shop"}, by="boss", role="admin")
            assert got.status_code == status
        assert len(it.world.facts(EVENTS)) == 1


async def test_a_code_is_taken_for_every_realm() -> None:
    """409 for another realm, which sees nothing of the app; also by PUT."""
    async with site() as it:
        await it.admin("POST", "/api/v2/apps", {"code": "SHOP"})
        elsewhere = {"realm": "other"}
        taken = (409, "conflict", "code")
        assert await refused(it, "POST", "/api/v2/apps", {"code": "shop"}, **elsewhere) == taken
        assert await refused(it, "PUT", "/api/v2/apps/shop", {}, **elsewhere) == taken
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/refresh")):
            status, _, _ = await refused(it, method, f"/api/v2/apps/SHOP{path}", None, **elsewhere)
            assert status == 404
        listed = await it.ok("GET", "/api/v2/apps", by="boss", role="admin", **elsewhere)
        assert listed["items"] == []


async def test_apps_are_listed_by_code_a_page_at_a_time() -> None:
    """Each once, in order, whatever the size of a page; retired ones when they are asked for."""
    async with site() as it:
        codes = [f"app-{number:02}" for number in range(7)]
        for code in reversed(codes):
            await it.admin("POST", "/api/v2/apps", {"code": code.upper() if code.endswith("3") else code})
        await it.admin("DELETE", "/api/v2/apps/app-05")
        for limit in (1, 2, 3, 100):
            assert await _listed(it, limit) == [code for code in codes if code != "app-05"]
            assert await _listed(it, limit, retired="true") == codes


async def _listed(it: Site, limit: int, **query: str) -> list[str]:
    found: list[str] = []
    asked = "&".join(f"{name}={value}" for name, value in {"limit": str(limit), **query}.items())
    cursor = ""
    while True:
        page = await it.admin("GET", f"/api/v2/apps?{asked}{cursor}")
        found += [each["code"].lower() for each in page["items"]]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def leads_to(**what: Any) -> dict[str, Any]:
    return {"event_actions": [{"event": "cart", "campaign_id": "1", **what}]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"code": ""}, "code"),
    ({"code": "a/b"}, "code"),
    ({"code": 7}, "code"),
    ({"name": 7}, "name"),
    ({"kind": "toaster"}, "kind"),
    ({"default_contact_field": 0}, "default_contact_field"),
    ({"rate_limits": {"client_per_minute": 0}}, "rate_limits.client_per_minute"),
    ({"push": {"style": "pigeon"}}, "push.style"),
    ({"geofences": {"refreshRadiusRatio": 0}}, "geofences.refreshRadiusRatio"),
    ({"geofences": {"groups": [{"id": "g", "geofences": []}]}}, "geofences.groups[0].waitInterval"),
    (
        {"geofences": {"groups": [{"id": "g", "waitInterval": -1, "geofences": []}]}},
        "geofences.groups[0].waitInterval",
    ),
    ({"event_actions": [{"event": "cart"}]}, "event_actions[0].campaign_id"),
    ({"event_actions": [{"event": "cart", "campaign_id": "1"}]}, "event_actions[0]"),
    (leads_to(message={"foo": 1}), "event_actions[0].message.msg"),
    (leads_to(message={"msg": "m", "opts": {"ttl": "5"}}), "event_actions[0].message.opts.ttl"),
    (leads_to(message={"msg": "m", "opts": {"ttl": -5}}), "event_actions[0].message.opts.ttl"),
    (leads_to(actions=[{"type": "Frobnicate"}]), "event_actions[0].actions[0].type"),
    (leads_to(actions=[{"type": "MEAppEvent"}]), "event_actions[0].actions[0].name"),
    ({"external_push_domain": "x" * 254}, "external_push_domain"),
]


@pytest.mark.parametrize(("changes", "field"), WRONG, ids=[field for _, field in WRONG])
async def test_what_cannot_be_is_named(changes: dict[str, Any], field: str) -> None:
    """422 with the path of the field, and nothing is written."""
    async with site() as it:
        body = {"code": "SHOP", **changes}
        assert await refused(it, "POST", "/api/v2/apps", body) == (422, "invalid", field)
        assert it.world.facts(EVENTS) == []


def fences(group: dict[str, Any]) -> dict[str, Any]:
    return {"geofences": {"groups": [{"id": "g", "waitInterval": 1, "geofences": [], **group}]}}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"rate_limits": {"client_per_minut": 1}}, "rate_limits.client_per_minut", "client_per_minute"),
        ({"push": {"stile": "msgxc"}}, "push.stile", "style"),
        ({"openid": {"isuer": "https://id.example.org"}}, "openid.isuer", "issuer"),
        (
            {"geofences": {"refresh_radius_ratio": 0.5}},
            "geofences.refresh_radius_ratio",
            "refreshRadiusRatio",
        ),
        (fences({"waitinterval": 1}), "geofences.groups[0].waitinterval", "waitInterval"),
        (
            fences({"geofences": [{**FENCE, "radius": 5}]}),
            "geofences.groups[0].geofences[0].radius",
            "",
        ),
        (
            fences({"geofences": [{**FENCE, "triggers": [{**TRIGGER, "loitering_delay": 5}]}]}),
            "geofences.groups[0].geofences[0].triggers[0].loitering_delay",
            "loiteringDelay",
        ),
        (leads_to(campaignId="1"), "event_actions[0].campaignId", "campaign_id"),
        (leads_to(message={"msg": "m", "ttl": 5}), "event_actions[0].message.ttl", "opts.ttl"),
        (leads_to(message={"msg": "m", "titel": "t"}), "event_actions[0].message.titel", "title"),
    ],
)
async def test_a_setting_that_there_is_not_is_named_at_every_depth(
    changes: dict[str, Any], field: str, words: str
) -> None:
    """Beside the one that was meant: a misspelt one would be its default, without a word."""
    async with site() as it:
        got = await it.call("PUT", "/api/v2/apps/SHOP", changes, by="boss", role="admin")
        assert (got.status_code, got.json()["field"]) == (422, field), got.text
        meant = f"did you mean {words}?" if words else "there are id, lat, lon, r, waitInterval, triggers"
        assert got.json()["detail"] == f"there is no such field: {meant}"
        assert it.world.facts(EVENTS) == []


def test_no_object_of_the_settings_takes_what_it_does_not_know() -> None:
    """However deep it is, and whatever object comes to be part of them."""
    found = [msgspec.inspect.type_info(PutAppBody)]
    for each in found:
        match each:
            case msgspec.inspect.StructType():
                assert each.forbid_unknown_fields, each.cls
                found += [field.type for field in each.fields]
            case msgspec.inspect.UnionType():
                found += each.types
            case msgspec.inspect.Metadata():
                found.append(each.type)
            case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
                found.append(each.item_type)
    assert len([each for each in found if isinstance(each, msgspec.inspect.StructType)]) == 9


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"type": "enter"}, ".type"),
        ({"type": "dwelling"}, ".type"),
        ({"loiteringDelay": 0}, ".loiteringDelay"),
        ({"action": {}}, ".action.type"),
        ({"action": "beep"}, ".action"),
    ],
)
async def test_a_trigger_that_no_device_understands_is_named(change: dict[str, Any], at: str) -> None:
    """Types in capitals, a delay for DWELLING, an action with its type: devices drop all else without a word."""
    async with site() as it:
        fence = {**FENCE, "triggers": [{**TRIGGER, **change}]}
        geofences = {"groups": [{"id": "g", "waitInterval": 1, "geofences": [fence]}]}
        answer = await refused(it, "PUT", "/api/v2/apps/SHOP", {"geofences": geofences})
        assert answer == (422, "invalid", f"geofences.groups[0].geofences[0].triggers[0]{at}")


async def test_a_refresh_is_passed_on() -> None:
    """For an app that is registered here, and for one that another service knows."""
    async with site() as it:
        await it.admin("POST", "/api/v2/apps", {"code": "SHOP"})
        for code in ("SHOP", "ELSEWHERE"):
            await it.admin("POST", f"/api/v2/apps/{code}/refresh")
        assert it.apps.refreshed == ["SHOP", "ELSEWHERE"]
