"""Who is refused at the door: what it costs, whom it is counted against, and in whose log of interactions it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from commands.apps import ChangeApp, RegisterApp
from domain.app import AppFacts
from domain.app_settings import AppSettings, RateLimits
from domain.context import Context
from infra.signing.key import SecretKey
from processes.directories import AppDirectory, Toll
from tests.memory.phone import ANN, APP, OTHER, PROPERTIES, Phone, phones, started
from tests.memory.site import Site
from tests.memory.world import REALM
from tests.unit.api.emarsys.device_tokens import ES

EVENT = {"events": [{"type": "custom", "name": "bought", "timestamp": "2026-01-02T03:04:05Z"}]}
LEFT = "x-rate-limit-remaining"


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        yield made


async def narrow(it: Site, code: str = APP, **limits: int) -> None:
    """From now on."""
    settings = AppSettings(merchant=REALM, default_contact_field=3, rate_limits=RateLimits(**limits))
    await it.world.do(ChangeApp(code=code, settings=settings))


def noted(it: Site, client: str) -> list[tuple[str, int]]:
    """The calls of a client: path and status."""
    return [
        (each.call.call.rpartition("}")[2], each.call.status)
        for each in it.signals.noted
        if each.client == UUID(client)
    ]


async def test_calls_beyond_a_clients_limit_are_in_its_log(it: Site) -> None:
    """Whoever looks for what went wrong finds the 429s beside the calls that went well."""
    phone = await started(it)
    client = phone.says["client"]
    await narrow(it, client_per_minute=4)
    it.signals.noted.clear()
    statuses = [(await phone.call("POST", "/client", PROPERTIES)).status_code for _ in range(7)]
    assert 429 in statuses
    assert noted(it, client) == [("/client", status) for status in statuses]
    assert len(it.signals.noted) == 7


async def test_an_apps_limit_is_in_the_log_of_whoever_it_refuses(it: Site) -> None:
    """A known client's; a stranger has no log."""
    phone = await started(it)
    await narrow(it, app_per_minute=1)
    it.signals.noted.clear()
    assert (await phone.call("POST", "/client", PROPERTIES)).status_code == 429
    assert (await Phone(it, "device-2").call("POST", "/client", PROPERTIES)).status_code == 429
    assert [(each.client, each.call.status) for each in it.signals.noted] == [
        (UUID(phone.says["client"]), 429)
    ]


@pytest.mark.parametrize("token", ["ended", "foreign", "forged"])
async def test_a_contact_token_that_is_refused_beside_a_good_state_is_in_the_log(
    it: Site, token: str
) -> None:
    """The state has proved whose call it is."""
    phone, other = await started(it), await started(it, client_id="device-2")
    if token == "ended":
        it.world.clock.advance(9 * 3600)
    else:
        phone.contact_token = other.contact_token if token == "foreign" else "a.b.c"
    it.signals.noted.clear()
    assert (await phone.call("POST", "/client/events", EVENT)).status_code == 401
    assert noted(it, phone.says["client"]) == [("/client/events", 401)]
    assert len(it.signals.noted) == 1


async def test_a_query_that_cannot_be_read_is_in_the_log(it: Site) -> None:
    """As a body that cannot be is."""
    phone = await started(it, base="/v4/apps")
    it.signals.noted.clear()
    headers = {"ec-client-id": phone.client_id, "ec-client-state": phone.state}
    path = f"/embedded-messaging/api/v1/{APP}/messages?$skip=many"
    assert (await it.call("GET", path, by=None, headers=headers)).status_code == 400
    assert noted(it, phone.says["client"]) == [("/messages", 400)]


async def test_a_refused_refresh_is_in_the_log_of_the_client_that_the_state_proves(it: Site) -> None:
    """The state alone gets nobody a token; without a good one of this client id nobody knows whose it was."""
    phone, other = await started(it), await started(it, client_id="device-2")
    it.signals.noted.clear()
    refresh = {"refreshToken": "x" * 70}
    assert (await phone.call("POST", "/client/contact-token", refresh)).status_code == 400
    assert noted(it, phone.says["client"]) == [("/client/contact-token", 400)]
    for state in ("a.b.c", other.state, ""):
        phone.state = state
        assert (await phone.call("POST", "/client/contact-token", refresh)).status_code == 400
    assert len(it.signals.noted) == 1


async def test_who_has_proved_nothing_is_in_nobodys_log(it: Site) -> None:
    """A forged state says nothing of the client that it names."""
    phone = await started(it)
    phone.state = phone.state[:-8] + ("AAAA" if phone.state[-8:-4] != "AAAA" else "BBBB") + phone.state[-4:]
    it.signals.noted.clear()
    assert (await phone.call("POST", "/client/events", EVENT)).status_code == 401
    assert it.signals.noted == []


class InMemory:
    """processes.directories.AppDirectory of a process that has served these apps."""

    def __init__(self, apps: AppDirectory, *known: AppFacts) -> None:
        self._apps, self._known = apps, {each.code: each for each in known}

    def known(self, code: str) -> AppFacts | None:
        return self._known.get(code)

    async def app(self, code: str, *, toll: Toll | None = None) -> AppFacts | None:
        return await self._apps.app(code, toll=toll)

    async def refresh(self, code: str) -> None: ...


async def test_a_device_on_its_way_is_refused_in_the_log_of_the_client_that_it_was(it: Site) -> None:
    """Within a merchant; of a client of another merchant's nothing is said here."""
    command = RegisterApp(code="abroad", settings=AppSettings(merchant="abroad"))
    await it.parts.bus.execute(command, Context("abroad"))
    phone = await started(it)
    former, known = phone.says["client"], await it.apps.app(APP)
    assert known is not None
    object.__setattr__(it.parts, "apps", InMemory(it.apps, known))
    it.signals.noted.clear()
    for app in (OTHER, "abroad"):
        phone.app = app
        assert (await phone.call("POST", "/client", b"[")).status_code == 400
    assert [(each.client, each.app, each.call.status) for each in it.signals.noted] == [
        (UUID(former), OTHER, 400)
    ]


class CountedKey(SecretKey, frozen=True):
    """looked_at: the signatures that were verified."""

    looked_at: list[bytes] = []

    def verify(self, data: bytes, signature: bytes) -> bool:
        self.looked_at.append(signature)
        return SecretKey.verify(self, data, signature)


@pytest.mark.parametrize("bad", ["state", "contact", "id"])
async def test_bad_tokens_and_ids_use_up_their_addresss_limit(it: Site, bad: str) -> None:
    """Each forgery costs a look at a signature: there are no more than the limit says. Each answer says what is left,
    and who goes on is refused unseen. It is counted against no client and not against the app.
    """
    key = CountedKey("counted", b"a secret of thirty-two bytes, or more")
    it.signing.use(key)
    phone = await started(it)
    good, used = phone.state, 2
    await narrow(it, address_per_minute=used + 5)
    client_id, before = phone.client_id, len(key.looked_at)
    answers = []
    for number in range(12):
        forged = f"{good[:-8]}{number:04d}{good[-4:]}"
        phone.state = "" if bad == "contact" else forged
        phone.contact_token = forged if bad == "contact" else ""
        phone.client_id = "no id" if bad == "id" else client_id
        answers.append(await phone.call("POST", "/client/events", EVENT))
    status = 400 if bad == "id" else 401
    assert [got.status_code for got in answers] == [status] * 5 + [429] * 7
    assert [got.headers[LEFT] for got in answers] == ["4", "3", "2", "1"] + ["0"] * 8
    assert {got.headers["x-rate-limit-limit"] for got in answers} == {str(used + 5)}
    assert len(key.looked_at) - before <= 5
    window = int(it.parts.now_s()) // 60
    assert it.parts.counter.add(f"sdk|p|{APP}", window) == used + 1


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
@pytest.mark.parametrize(
    "call", [("PUT", "/client/push-token", {"pushToken": "bb22"}), ("POST", "/client/contact", ANN)]
)
async def test_a_state_of_a_key_that_is_gone_is_none_beside_a_good_contact_token(
    it: Site, base: str, call: tuple[str, str, Any]
) -> None:
    """Generation 4 takes no state from a refresh, and says the worthless one with every call after it (ECClient.kt at
    4.0.1): the contact token says which client that is, and the answer has its state. Without a good one, or with
    nobody's, it is a 401 as before, whatever was let in meanwhile.
    """
    phone, other = await started(it, base=base), await started(it, client_id="device-2", base=base)
    client, worthless = phone.says["client"], phone.state
    appless = await it.call("POST", "/v3/contact-token", ANN, by=None, headers={"x-merchant-id": REALM})
    it.signing.use(ES)
    assert (await phone.call(*call)).status_code == 401
    for each in (phone, other):
        await each.call("POST", "/client/contact-token", {"refreshToken": each.refresh_token})
        each.state = worthless
    good = phone.contact_token
    assert (await phone.call(*call)).status_code in (200, 204)
    assert phone.says["client"] == client
    for bad in ("", "a.b.c", other.contact_token, appless.json()["contactToken"]):
        phone.state, phone.contact_token = worthless, bad
        assert (await phone.call(*call)).status_code == 401
    phone.state, phone.contact_token = f"{worthless[:-4]}AAAA", good
    assert (await phone.call(*call)).status_code in (
        200,
        204,
    )  # with the key, nobody can say who has changed it
    phone.state, phone.contact_token = "a.b.c", good
    assert (await phone.call(*call)).status_code == 401
