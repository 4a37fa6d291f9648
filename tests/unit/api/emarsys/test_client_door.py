"""Who gets in to the client service, and how the others are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from api.emarsys.table import APPLESS_ROUTES, ROUTES
from commands.apps import RegisterApp
from domain.app_settings import AppSettings, RateLimits
from domain.context import Context
from tests.memory.phone import ANN, APP, OTHER, PROPERTIES, Phone, count, phones, started
from tests.memory.site import Site
from tests.memory.world import REALM
from tests.replays.sdks import answers_v4
from tests.unit.api.emarsys.device_tokens import ES

EVENT = {"events": [{"type": "custom", "name": "bought", "timestamp": "2026-01-02T03:04:05Z"}]}


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        yield made


async def test_a_new_device_with_an_old_ones_id_learns_and_changes_nothing_of_it(it: Site) -> None:
    """A client id is anybody's word: without the client state it is another client."""
    owner = await started(it)
    await owner.call("POST", "/client/contact", ANN)
    await owner.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    before = owner.says
    stranger = Phone(it)
    for method, path, body in (
        ("POST", "/client", {"platform": "android"}),
        ("PUT", "/client/push-token", {"pushToken": "bb22"}),
        ("POST", "/client/contact?anonymous=true", {}),
    ):
        stranger.state = stranger.contact_token = ""
        got = await stranger.call(method, path, body)
        assert got.status_code in (200, 204)
        assert stranger.says["client"] != before["client"]
        assert stranger.says.get("contactField") is None
    await owner.call("POST", "/client", PROPERTIES)
    assert owner.says == before


@pytest.mark.parametrize("base", ["/v3/apps", "/v3/domains", "/v4/apps"])
async def test_who_has_proved_nothing_and_clears_a_push_token_leaves_no_trace(it: Site, base: str) -> None:
    """204, since there is none; no client is made, and none is shown or changed: neither a new device's nor that of an
    older one with the same client id.
    """
    owner = await started(it, base=base)
    await owner.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    before = count(it)
    it.signals.noted.clear()
    for client_id in (owner.client_id, "device-2"):
        stranger = Phone(it, client_id, base=base)
        got = await stranger.call("DELETE", "/client/push-token")
        assert (got.status_code, got.content, stranger.state) == (204, b"", "")
    assert (count(it), it.signals.noted) == (before, [])
    assert (await owner.call("DELETE", "/client/push-token")).status_code == 204
    assert count(it) > before


async def test_a_contact_token_proves_its_client_where_there_is_no_state(it: Site) -> None:
    """Its own client, under its own id; with another client id it is 401."""
    phone = await started(it)
    client, phone.state = phone.says["client"], ""
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})).status_code == 204
    assert phone.says["client"] == client
    thief = Phone(it, "device-2")
    thief.contact_token = phone.contact_token
    assert (await thief.call("PUT", "/client/push-token", {"pushToken": "bb22"})).status_code == 401


LOOKED_AT: tuple[tuple[str, str, str, Any], ...] = (
    ("/v3/apps", "PUT", "/client/push-token", {"pushToken": "bb22"}),
    ("/v3/domains", "DELETE", "/client/push-token", None),
    ("/v3/apps", "POST", "/client/events", EVENT),
    ("/v4/apps", "POST", "/client/events", EVENT),
    ("/v5/apps", "POST", "/client/events", EVENT),
    ("/v3/apps", "GET", "/inbox", None),
    ("/v3/apps", "POST", "/inline-messages", {"viewIds": ["home"]}),
    ("/v5/apps", "POST", "/inline-messages", {"viewIds": ["home"]}),
    ("/embedded-messaging/api/v1", "GET", "/messages", None),
    ("/embedded-messaging/api/v1", "GET", "/badge-count", None),
    ("/embedded-messaging/api/v1", "GET", "/meta", None),
    ("/embedded-messaging/api/v1", "PATCH", "/tags", []),
)
"""The calls that a contact token alone is a proof for."""


async def with_token_alone(it: Site, client_id: str, token: str, call: tuple[str, str, str, Any]) -> int:
    base, method, path, body = call
    is_v4 = base.startswith(("/v5", "/embedded"))
    id, contact = ("ec-client-id", "ec-contact") if is_v4 else ("x-client-id", "x-contact-token")
    headers = {id: client_id, contact: token}
    return (await it.call(method, f"{base}/{APP}{path}", body, by=None, headers=headers)).status_code


@pytest.mark.parametrize("call", LOOKED_AT, ids=lambda call: f"{call[1]} {call[0]}{call[2]}")
async def test_a_contact_token_alone_is_no_proof_for_another_client_id(
    it: Site, call: tuple[str, str, str, Any]
) -> None:
    """401 wherever one is looked at, and its own client's call is let in."""
    phone = await started(it)
    before = count(it)
    assert await with_token_alone(it, "device-2", phone.contact_token, call) == 401
    assert count(it) == before
    assert await with_token_alone(it, phone.client_id, phone.contact_token, call) in (200, 204)


async def test_a_contact_token_of_before_it_said_its_client_id_is_good(it: Site) -> None:
    """Such are held for some hours after an upgrade: devices go on with them as before."""
    phone = await started(it)
    held = it.parts.tokens.read_contact(phone.contact_token)
    assert held.client_id == phone.client_id
    former = it.parts.tokens.sign_contact(msgspec.structs.replace(held, client_id=""))
    for call in LOOKED_AT:
        assert await with_token_alone(it, phone.client_id, former, call) in (200, 204)
    client, phone.state, phone.contact_token = phone.says["client"], "", former
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204
    assert phone.says["client"] == client


async def test_what_a_registration_does_not_look_at_is_no_proof_elsewhere(it: Site) -> None:
    """Proofs are remembered: another client's contact token beside a good state is 401 on other calls all the same."""
    phone, other = await started(it), await started(it, client_id="device-2")
    phone.contact_token = other.contact_token
    for _ in range(2):
        assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204
        assert (await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})).status_code == 401


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_who_registers_with_a_good_contact_token_alone_is_its_client(it: Site, base: str) -> None:
    """The state was lost, the token not: a new client beside that token would be refused with its next call."""
    phone = await started(it, base=base)
    await phone.call("POST", "/client/contact", ANN)
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    former, phone.state = phone.says, ""
    newer = PROPERTIES | {"applicationVersion": "2"}
    assert (await phone.call("POST", "/client", newer)).status_code == (200 if phone.is_v4 else 204)
    assert phone.says | {"iat": 0} == former | {"properties": newer, "iat": 0}
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "bb22"})).status_code == 204


@pytest.mark.parametrize("token", ["forged", "ended", "of another client", "of another app", "of no app"])
async def test_a_contact_token_that_is_of_no_use_is_none_to_a_registration(it: Site, token: str) -> None:
    """As a state is: a new client, and no 401."""
    phone, other = await started(it), await started(it, client_id="device-2")
    elsewhere = await started(it, app=OTHER)
    appless = await it.call("POST", "/v3/contact-token", ANN, by=None, headers={"x-merchant-id": REALM})
    known = {each.says["client"] for each in (phone, other, elsewhere)}
    phone.state = ""
    if token == "ended":
        it.world.clock.advance(9 * 3600)
    else:
        phone.contact_token = {
            "forged": "a.b.c",
            "of another client": other.contact_token,
            "of another app": elsewhere.contact_token,
            "of no app": appless.json()["contactToken"],
        }[token]
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 204
    assert phone.says["client"] not in known


async def test_foreign_and_forged_tokens_are_refused(it: Site) -> None:
    """401 with JSON in the generation's own form; and nothing is written."""
    mine, other = await started(it), await started(it, client_id="device-2")
    command = RegisterApp(code="abroad", settings=AppSettings(merchant="abroad", default_contact_field=3))
    await it.parts.bus.execute(command, Context("abroad"))
    elsewhere = await started(it, app="abroad")
    v4 = await started(it, client_id="device-4", base="/v4/apps")
    before = count(it)
    forged = mine.state[:-8] + ("AAAA" if mine.state[-8:-4] != "AAAA" else "BBBB") + mine.state[-4:]
    answers = []
    for state in (other.state, elsewhere.state, forged, "a.b.c", "x"):
        for phone in (mine, v4):
            held, phone.state = phone.state, state
            answers.append(await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"}))
            phone.state = held
    assert {got.status_code for got in answers} == {401}
    mine.contact_token = other.contact_token
    assert (await mine.call("DELETE", "/client/push-token")).status_code == 401
    assert count(it) == before
    assert answers[-1].json()["error"]["code"] == "1003"


@pytest.mark.parametrize("base", ["/v3/apps", "/v3/domains", "/v4/apps"])
@pytest.mark.parametrize("state", ["of.no.use", "x", "of a key that is gone"])
async def test_a_state_that_nobody_can_verify_is_none_to_a_registration(
    it: Site, base: str, state: str
) -> None:
    """SDKs without a refresh token would be refused until their data are cleared. It is another client,
    with a state and, in v4, with tokens of its own; nothing of the former is shown or changed.
    """
    phone = await started(it, base=base)
    await phone.call("POST", "/client/contact", ANN)
    await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})
    former, token = phone.says["client"], phone.contact_token
    if state == "of a key that is gone":
        it.signing.use(ES)
    else:
        phone.state = state
    got = await phone.call("POST", "/client", PROPERTIES)
    assert got.status_code == (200 if phone.is_v4 else 204)
    assert phone.says["client"] != former
    assert not phone.says.get("contactField")
    assert "pushToken" not in phone.says
    assert (phone.contact_token != token) == phone.is_v4
    if not phone.is_v4:
        phone.contact_token = ""
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "bb22"})).status_code == 204
    assert (await phone.call("POST", "/client/contact", ANN)).status_code == 200


async def test_an_expired_contact_token_beside_a_good_state_does_no_harm(it: Site) -> None:
    """The state says who calls: the device is spared a refresh."""
    phone = await started(it)
    it.world.clock.advance(9 * 3600)
    assert (await phone.call("PUT", "/client/push-token", {"pushToken": "aa11"})).status_code == 204


@pytest.mark.parametrize("base", ["/v3/apps", "/v3/domains", "/v4/apps"])
async def test_bad_calls_are_400_in_the_generations_own_form(it: Site, base: str) -> None:
    """No such app, no client id, no sense: JSON every time, all fields of v4's errors, and nothing half written."""
    good = await started(it, base=base)
    before = count(it)
    bad = [
        await Phone(it, app="nobody", base=base).call("POST", "/client", PROPERTIES),
        await Phone(it, "", base=base).call("POST", "/client", PROPERTIES),
        await Phone(it, "no id", base=base).call("POST", "/client", PROPERTIES),
        await good.call("POST", "/client", b"{"),
        await good.call("POST", "/client", b"[]"),
        await good.call("PUT", "/client/push-token", {}),
        await good.call("PUT", "/client/push-token", {"pushToken": ""}),
        await good.call("PUT", "/client/push-token", {"pushToken": '{"endpoint":"ftp://x","keys":{}}'}),
        await good.call("POST", "/client/contact", {"contactFieldId": 3}),
        await good.call("POST", "/client/contact", ANN | {"contactFieldId": 0}),
        await good.call("POST", "/client/contact", ANN | {"contactFieldValue": "\u00e9" * 200}),
    ]
    for got in bad:
        assert got.status_code == 400, got.text
        if base == "/v4/apps":
            assert set(got.json()["error"]) == {"code", "message", "target", "details"}
        else:
            assert got.json()["status"] == 400
    large = await good.call("POST", "/client", {"x": "y" * 300_000})
    assert (large.status_code, large.json() is not None) == (413, True)
    assert large.headers["connection"] == "close"
    assert count(it) == before


async def test_too_many_calls_of_one_client_are_429_but_never_a_refresh(it: Site) -> None:
    """With what is left on every answer; the other clients are not concerned."""
    limits = RateLimits(client_per_minute=3)
    await it.world.do(RegisterApp(code="small", settings=AppSettings(merchant=REALM, rate_limits=limits)))
    phone = await started(it, app="small")
    left = [await phone.call("POST", "/client", PROPERTIES) for _ in range(3)]
    assert [got.status_code for got in left] == [204, 204, 429]
    assert [got.headers["x-rate-limit-remaining"] for got in left] == ["1", "0", "0"]
    assert {got.headers["x-rate-limit-limit"] for got in left} == {"3"}
    assert 0 < int(left[2].headers["x-rate-limit-reset"]) <= 60
    assert left[2].json()["code"] == "too-many"
    for _ in range(5):
        refreshed = await phone.call("POST", "/client/contact-token", {"refreshToken": phone.refresh_token})
        assert refreshed.status_code == 200
    assert (await Phone(it, "device-2", "small").call("POST", "/client", PROPERTIES)).status_code == 204


async def test_pages_of_any_origin_may_call_and_read_the_state(it: Site) -> None:
    """The preflight allows the five headers that W sends, and the answers show it x-client-state."""
    names = "content-type, x-client-id, x-client-state, x-contact-token, x-request-order"
    asked = {
        "origin": "https://shop.example.org",
        "access-control-request-method": "PUT",
        "access-control-request-headers": names,
    }
    path = f"/v3/domains/{APP}/client/push-token"
    got = await it.call("OPTIONS", path, by=None, headers=asked)
    assert got.status_code == 204
    assert got.headers["access-control-allow-origin"] in ("*", "https://shop.example.org")
    assert "PUT" in got.headers["access-control-allow-methods"]
    assert set(got.headers["access-control-allow-headers"].split(", ")) == set(names.split(", "))
    page = Phone(it, base="/v3/domains")
    shown = await page.call("POST", "/client", PROPERTIES, origin="https://shop.example.org")
    assert "x-client-state" in shown.headers["access-control-expose-headers"].lower()
    refused = await page.call("PUT", "/client/push-token", {}, origin="https://shop.example.org")
    assert refused.headers["access-control-allow-origin"] == "https://shop.example.org"


async def test_every_route_of_devices_lets_in_who_it_should(it: Site) -> None:
    """Each of them: no app is 400, no client id is 400, a forged state is 401 where it is looked at, but none to a
    registration, and an unknown device is let in; what it may not do without a proof is refused by 400.
    """
    for route in (route for route in ROUTES if route not in APPLESS_ROUTES):
        v4 = "/v4/" in route.path
        id_name, state_name = ("ec-client-id", "ec-client-state") if v4 else ("x-client-id", "x-client-state")
        good = {id_name: "device-9"}
        path, body = route.path.format(app=APP), WALKED[route.path.partition("{app}")[2], route.method]
        nowhere = route.path.format(app="nobody")
        assert (await it.call(route.method, nowhere, body, by=None, headers=good)).status_code == 400
        assert (await it.call(route.method, path, body, by=None)).status_code == 400
        forged = await it.call(route.method, path, body, by=None, headers=good | {state_name: "a.b.c"})
        registered = 200 if v4 else 204
        expected = {"/contact-token": 400, "/client": registered}.get(path[path.rindex("/") :], 401)
        assert forged.status_code == expected, path
        unknown = await it.call(route.method, path, body, by=None, headers=good)
        needs_proof = path.endswith(("/contact-token", "/client/app"))
        assert unknown.status_code in ((400,) if needs_proof else (200, 204)), path


WALKED: dict[tuple[str, str], Any] = {
    ("/client", "POST"): PROPERTIES,
    ("/client/push-token", "PUT"): {"pushToken": "aa11"},
    ("/client/push-token", "DELETE"): None,
    ("/client/contact", "POST"): ANN,
    ("/client/contact", "DELETE"): None,
    ("/client/contact-token", "POST"): {"refreshToken": "unknown"},
    ("/client/app", "POST"): {"to": OTHER},
    ("/geo-fences", "GET"): None,
}
"""What each route is called with. A new one must be added here, and so be walked."""


@pytest.mark.parametrize("name", ["ec-client-state", "ec-contact"])
async def test_v4_is_told_of_header_fields_by_its_own_names(it: Site, name: str) -> None:
    """The target of an error, and its words: it sends no X-Client-State."""
    headers = {"ec-client-id": "device-1", name: "a.b.c"}
    got = await it.call(
        "PUT", f"/v4/apps/{APP}/client/push-token", {"pushToken": "t"}, by=None, headers=headers
    )
    error = answers_v4.read_error(got.json())
    assert (got.status_code, error["target"]) == (401, name)
    assert error["message"].startswith(name)
    assert "x-" not in got.text.casefold()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v4/apps/{APP}/client", 405),
        ("DELETE", f"/v5/apps/{APP}/client/events", 405),
        ("PUT", f"/embedded-messaging/api/v1/{APP}/tags", 405),
        ("GET", f"/v4/apps/{APP}/nothing", 404),
        ("POST", "/v5/nothing", 404),
        ("GET", "/embedded-messaging/api/v1/nothing", 404),
    ],
)
async def test_v4_reads_its_own_errors_where_there_is_no_such_call(
    it: Site, method: str, path: str, status: int
) -> None:
    """Its parser wants every field; what is allowed is said as HTTP wants it."""
    got = await it.call(method, path, by=None)
    assert (got.status_code, got.headers["content-type"]) == (status, "application/json")
    error = got.json()["error"]
    assert (error["code"], error["target"]) == ("1004", "request")
    assert error["message"] == error["details"][0]["message"] != ""
    assert ("allow" in got.headers) == (status == 405)


async def test_an_unexpected_error_is_v4s_too(it: Site) -> None:
    """500, and no more is told than that it is ours."""

    async def broken(_code: str, **_: Any) -> None:
        raise RuntimeError("secret detail")

    it.parts.apps.app = broken  # type: ignore[assignment, method-assign]
    path = f"/v4/apps/{APP}/client"
    transport = httpx.ASGITransport(it.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://msgxc") as client:
        got = [await client.post(each, json={}) for each in (path, path.replace("v4", "v3"))]
    assert [each.status_code for each in got] == [500, 500]
    assert (got[0].json()["error"]["code"], got[1].json()["code"]) == ("1000", "internal")
    assert "secret" not in got[0].text


async def test_v3_is_told_with_a_problem_where_there_is_no_such_call(it: Site) -> None:
    """W parses JSON on every failure."""
    for method, path, status in (("GET", "client", 405), ("GET", "nothing", 404)):
        got = await it.call(method, f"/v3/apps/{APP}/{path}", by=None)
        assert (got.status_code, got.json()["status"]) == (status, status)
