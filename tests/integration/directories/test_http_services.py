"""Services over HTTP that misbehave: the caller is told in time, the service is left alone, and found again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from domain.app_settings import AppSettings
from domain.devices.geofence import FENCES_MAX
from domain.errors import Invalid, Unavailable
from gateways.http1.client import BODY_BYTES_MAX
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.breaker import FAILURES_MAX, OPEN_S
from infra.emarsys_http.calls import ServiceCalls
from infra.emarsys_http.contacts import HttpContacts
from infra.emarsys_http.merchants import FRESH_S, UNKNOWN_S, HttpMerchants
from infra.emarsys_http.service import ANSWER_BYTES_MAX, WAITING_MAX, Service
from processes.directories import Identified, MerchantSettings, Unreadable
from tests.fixtures.directory_service import TOKEN, Behaviour, DirectoryService
from tests.integration.directories.processes import IDS, Clock
from tests.memory.ports.apps import Realms

ANN = Identified(merchant="main", field=3, value="ann@example.org")
ANSWER_S = 0.3


@pytest.mark.parametrize(
    "behaviour", ["hangs", "resets", "dribbles", "breaks-off", "floods", "babbles", "redirects"]
)
async def test_a_service_that_misbehaves_is_unavailable_in_time(
    there: DirectoryService, service: Service, behaviour: Behaviour
) -> None:
    """Whatever it does: one call, one error that names it, soon, and nothing of what was asked in it."""
    there.behaviour = behaviour
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match="the service") as failure:
        await HttpContacts(service).resolve(ANN)
    assert time.monotonic() - began_s < ANSWER_S + 1.0
    assert len(there.asked) == 1
    assert failure.value.retryable
    assert "ann@example.org" not in failure.value.detail
    assert TOKEN not in failure.value.detail


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 401, 403, 404, 302, 204, 418])
async def test_what_may_pass_by_is_unavailable(
    there: DirectoryService, service: Service, status: int
) -> None:
    """Also a token that is not good, and a path that is not there: somebody will mend it, and the contact waits."""
    there.status = status
    with pytest.raises(Unavailable):
        await HttpContacts(service).resolve(ANN)


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_what_never_will_be_is_invalid(there: DirectoryService, service: Service, status: int) -> None:
    """The service understood, and will not: asking again would block whatever comes behind."""
    there.status = status
    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(Invalid) as refused:
            await HttpContacts(service).resolve(ANN)
        assert refused.value.field == "contactFieldValue"
    assert not service.breaker.is_open


async def test_a_token_that_is_refused_is_said(there: DirectoryService) -> None:
    """Whoever reads the log then knows which setting to look at."""
    service = Service("the contact service", there.url, token="another")
    with pytest.raises(Unavailable, match=r"refuses our token \(401\)"):
        await HttpContacts(service).resolve(ANN)
    await service.aclose()


async def test_how_calls_end_is_on_metrics(there: DirectoryService, service: Service, clock: Clock) -> None:
    """Answers, refusals, failures, and calls that were not made since the service is left alone."""
    registry = CollectorRegistry()
    registry.register(ServiceCalls([service]))
    contacts = HttpContacts(service)
    for status in (200, 422, *[500] * (FAILURES_MAX + 1)):
        there.status = status
        with contextlib.suppress(Unavailable, Invalid):
            await contacts.resolve(ANN)
    counted = {"answered": 1, "denied": 1, "failed": FAILURES_MAX, "refused": 1, "absent": 0, "unreadable": 0}
    for outcome, count in counted.items():
        labels = {"service": service.label, "outcome": outcome}
        assert registry.get_sample_value("msgxc_service_calls_total", labels) == count
    assert registry.get_sample_value("msgxc_service_left_alone", {"service": service.label}) == 1
    waited_s = registry.get_sample_value("msgxc_service_seconds_total", {"service": service.label})
    assert waited_s is not None
    assert 0 < waited_s < 10


async def test_nobody_there(clock: Clock) -> None:
    """A port that nothing listens on is told at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        service = Service("the service", f"http://127.0.0.1:{taken.getsockname()[1]}", now_s=clock)
        with pytest.raises(Unavailable, match="does not answer"):
            await HttpContacts(service).resolve(ANN)
        await service.aclose()


async def test_a_service_that_is_down_is_left_alone_and_found_again(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """After some failures nothing is asked any more; later one call tries, and if it works all do."""
    contacts = HttpContacts(service)
    number = await contacts.resolve(ANN)
    there.behaviour = "resets"
    for _ in range(3 * FAILURES_MAX):
        with pytest.raises(Unavailable):
            await contacts.resolve(ANN)
    assert len(there.asked) == 1 + FAILURES_MAX
    there.behaviour = "answers"
    with pytest.raises(Unavailable, match="again and again"):
        await contacts.resolve(ANN)
    clock.now_s += OPEN_S
    assert await contacts.resolve(ANN) == number
    assert await contacts.resolve(ANN) == number


async def test_a_slow_service_does_not_gather_callers_without_end(
    there: DirectoryService, service: Service
) -> None:
    """Beyond a bound they are told at once; those before get their own answer."""
    there.behaviour = "hangs"
    contacts = HttpContacts(service)
    waiting = [asyncio.create_task(contacts.resolve(ANN)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match="too slow"):
        await contacts.resolve(ANN)
    assert time.monotonic() - began_s < ANSWER_S
    for each in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(each, Unavailable)


async def test_a_cancelled_call_leaves_no_trace(there: DirectoryService, service: Service) -> None:
    """The next one finds the connection, the bound and the breaker as if it had not been."""
    there.behaviour = "hangs"
    contacts = HttpContacts(service)
    for _ in range(2 * FAILURES_MAX):
        waiting = asyncio.create_task(contacts.resolve(ANN))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    there.behaviour = "answers"
    assert await contacts.resolve(ANN) > 0


@pytest.mark.parametrize(
    "document",
    [
        {"code": "SHOP"},
        {"merchant": "main"},
        {"code": "OTHER", "merchant": "main"},
        {"code": "SHOP", "merchant": "main", "kind": "toaster"},
        {"code": "SHOP", "merchant": "main", "rate_limits": {"client_per_minute": 0}},
        {"code": "SHOP", "merchant": "main", "geofences": {"refreshRadiusRatio": 7}},
        [],
        "SHOP",
    ],
)
async def test_an_app_that_cannot_be_is_not_believed(
    there: DirectoryService, service: Service, document: object
) -> None:
    """The service is wrong, not the device: no 'unknown app' for it."""
    there.apps["shop"] = document
    with pytest.raises(Unavailable):
        await HttpApps(service, IDS).app("SHOP")


async def test_one_apps_bad_document_shuts_no_other_app(there: DirectoryService, service: Service) -> None:
    """However often it is asked for: the service is there, and says what it has of the others."""
    geofences = {"groups": [{"id": "g", "geofences": []}]}
    there.apps["bad"] = {"code": "BAD", "merchant": "main", "geofences": geofences}
    there.apps["good"] = {"code": "GOOD", "merchant": "main"}
    apps = HttpApps(service, IDS)
    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(Unreadable, match="waitInterval"):
            await apps.app("BAD")
        assert await apps.app("GOOD") is not None
    assert not service.breaker.is_open
    assert service.outcomes["unreadable"] == 2 * FAILURES_MAX


async def test_an_app_may_have_as_many_geofences_as_there_may_be(
    there: DirectoryService, service: Service
) -> None:
    """A thousand, each with what devices are to do, are more than other answers ever have."""
    action = {"type": "MECustomEvent", "name": "near-shop", "payload": {"shop": "7", "campaign": "spring"}}
    trigger = {"id": "near", "type": "ENTER", "action": action}
    place = {"lat": 48.2082, "lon": 16.3738, "r": 150, "waitInterval": 60, "triggers": [trigger]}
    fences = [{"id": f"shop-{number}-{uuid4()}", **place} for number in range(FENCES_MAX)]
    group = {"id": "shops", "waitInterval": 3600, "geofences": fences}
    there.apps["shop"] = {"code": "SHOP", "merchant": "main", "geofences": {"groups": [group]}}
    assert len(json.dumps(there.apps["shop"])) > BODY_BYTES_MAX
    facts = await HttpApps(service, IDS).app("SHOP")
    assert facts is not None
    assert len(facts.settings.geofences.groups[0].geofences) == FENCES_MAX


async def test_one_apps_endless_document_shuts_no_other_app(
    there: DirectoryService, service: Service
) -> None:
    """The service is there: it is that app's own trouble."""
    there.apps["bad"] = {"code": "BAD", "merchant": "main", "name": "x" * ANSWER_BYTES_MAX}
    there.apps["good"] = {"code": "GOOD", "merchant": "main"}
    apps = HttpApps(service, IDS)
    for _ in range(FAILURES_MAX):
        with pytest.raises(Unreadable, match="more than"):
            await apps.app("BAD")
    assert await apps.app("GOOD") is not None


async def test_an_action_that_no_device_carries_out_shuts_no_app(
    there: DirectoryService, service: Service
) -> None:
    """Devices pass over that one alone, of an event or of a geofence's trigger; the app's others work."""
    trigger = {"id": "t", "type": "ENTER", "action": {"type": "Frobnicate"}}
    fence = {"id": "f", "lat": 1, "lon": 2, "r": 3, "triggers": [trigger]}
    there.apps["shop"] = {
        "code": "SHOP",
        "merchant": "main",
        "geofences": {"groups": [{"id": "g", "waitInterval": 1, "geofences": [fence]}]},
        "event_actions": [{"event": "cart", "campaign_id": "1", "actions": [{"type": "Frobnicate"}]}],
    }
    facts = await HttpApps(service, IDS).app("SHOP")
    assert facts is not None
    with pytest.raises(Invalid, match="an action says its type"):
        facts.settings.assert_valid()


async def test_one_contacts_bad_number_shuts_no_other_contact(
    there: DirectoryService, service: Service
) -> None:
    """That one waits until the service has mended it; the others are resolved."""
    there.numbers["ann@example.org"] = 0
    contacts = HttpContacts(service)
    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(Unreadable):
            await contacts.resolve(ANN)
    assert await contacts.resolve(Identified(merchant="main", field=3, value="ben@example.org")) > 0


async def test_a_document_may_say_more_than_we_know(there: DirectoryService, service: Service) -> None:
    """A newer service's fields are passed over; what it leaves out has its default."""
    there.apps["shop"] = {"code": "Shop", "merchant": "acme", "colour": "red"}
    facts = await HttpApps(service, IDS).app("SHOP")
    assert facts is not None
    assert (facts.code, facts.settings) == ("Shop", AppSettings(merchant="acme"))


async def test_merchants_settings_are_remembered_for_a_while(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """Every token needs them: one look for all who ask at once, one again when they have become old."""
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.merchants["acme"] = {"anonymous_contacts": False, "merchant": "somebody else"}
    found = await asyncio.gather(*(merchants.settings("acme") for _ in range(50)))
    assert set(found) == {MerchantSettings(merchant="acme", anonymous_contacts=False)}
    assert len(there.asked) == 1
    there.merchants["acme"] = {"anonymous_contacts": True}
    clock.now_s += FRESH_S - 1
    assert not (await merchants.settings("acme")).anonymous_contacts
    clock.now_s += 2
    assert (await merchants.settings("acme")).anonymous_contacts


async def test_what_was_known_of_a_merchant_holds_while_the_service_is_away(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """Of one who was never asked for, it is said that the service is away."""
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.merchants["acme"] = {"default_contact_field": 3}
    known = await merchants.settings("acme")
    there.behaviour = "resets"
    clock.now_s += FRESH_S + 1
    assert await merchants.settings("acme") == known
    with pytest.raises(Unavailable):
        await merchants.settings("other")


async def test_settings_of_a_merchant_that_cannot_be_are_not_believed(
    there: DirectoryService, service: Service
) -> None:
    """Better no answer than one that forbids or allows by mistake."""
    there.merchants["acme"] = {"anonymous_contacts": "perhaps"}
    with pytest.raises(Unavailable, match="cannot be"):
        await HttpMerchants(service, Realms()).settings("acme")


async def test_settings_that_cannot_be_read_are_asked_for_now_and_then(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """Not with every call of a device; who runs it reads once why. What is mended is seen after half a minute."""
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.merchants["acme"] = {"contact_token_lifetime_s": 1}
    with capture_logs() as logs:
        for _ in range(3):
            for _ in range(20):
                with pytest.raises(Unreadable, match="contact_token_lifetime_s"):
                    await merchants.settings("acme")
                assert merchants.known("acme") is None
            clock.now_s += UNKNOWN_S + 1
    assert len(there.asked) == 3
    assert [each["merchant"] for each in logs if each["event"] == "merchant-unreadable"] == ["acme"]
    there.merchants["acme"] = {"contact_token_lifetime_s": 60}
    good = await merchants.settings("acme")
    assert (good.contact_token_lifetime_s, merchants.known("acme")) == (60, good)


@pytest.mark.parametrize("behaviour", ["hangs", "babbles"])
async def test_who_can_say_nothing_new_of_a_merchant_is_asked_now_and_then(
    there: DirectoryService, service: Service, clock: Clock, behaviour: Behaviour
) -> None:
    """One call of a device waits for it in half a minute, and all others have at once what was known before."""
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.merchants["acme"] = {"default_contact_field": 3}
    known = await merchants.settings("acme")
    there.behaviour = behaviour
    clock.now_s += FRESH_S + 1
    for asked in (2, 3):
        for _ in range(20):
            assert await merchants.settings("acme") == known
            assert merchants.known("acme") == known
        assert len(there.asked) == asked
        clock.now_s += UNKNOWN_S + 1
    there.behaviour, there.merchants["acme"] = "answers", {"default_contact_field": 4}
    assert (await merchants.settings("acme")).default_contact_field == 4


async def test_one_caller_waits_for_a_service_of_merchants_that_hangs(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """Once it has not answered: whoever else asks meanwhile has at once what was known before."""
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    known = MerchantSettings(merchant="acme", default_contact_field=3)
    there.merchants["acme"] = {"default_contact_field": 3}
    assert await merchants.settings("acme") == known
    there.behaviour = "hangs"
    clock.now_s += FRESH_S + 1
    assert await merchants.settings("acme") == known
    clock.now_s += UNKNOWN_S + 1
    waits = asyncio.create_task(merchants.settings("acme"))
    await asyncio.sleep(0)
    began_s = time.monotonic()
    assert [await merchants.settings("acme") for _ in range(20)] == [known] * 20
    assert time.monotonic() - began_s < ANSWER_S / 2
    assert not waits.done()
    assert await waits == known
