"""Whatever a provider does, a slice is over by its deadline, and no other channel is slower for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from domain.deliveries.outcome import Accepted, Retry, Unknown
from gateways.port import ChannelHalted
from infra.sandbox import GoAway, Hang, Proceed, Refuse, Reset, Respond
from tests.fixtures.notices import notice
from tests.integration.gateways.conftest import Providers, Send

PROVIDERS = ("apns", "fcm", "webpush", "sms", "sendgrid", "smtp")
DEADLINE_S = 0.6
OVER_S = 1.0


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_provider_that_hangs(provider: str, providers: Providers, send: Send) -> None:
    """The request has left, so it may have been taken: Unknown, on time."""
    targets = await providers.targets(provider)
    providers.tell(provider, Hang(processed=True), *targets)
    started = time.monotonic()
    [outcome] = await send(provider, targets, deadline_s=DEADLINE_S)
    assert time.monotonic() - started < DEADLINE_S + OVER_S
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_provider_that_cuts_the_connection(provider: str, providers: Providers, send: Send) -> None:
    """Likewise, and at once."""
    targets = await providers.targets(provider)
    providers.tell(provider, Reset(connection=True), *targets)
    started = time.monotonic()
    [outcome] = await send(provider, targets, deadline_s=5.0)
    assert time.monotonic() - started < 2.0
    assert isinstance(outcome, Unknown)
    assert [type(outcome) for outcome in await send(provider, targets)] == [Accepted]


@pytest.mark.parametrize("provider", ["apns", "fcm", "webpush"])
async def test_a_stream_that_is_refused(provider: str, providers: Providers, send: Send) -> None:
    """REFUSED_STREAM: certainly not processed."""
    targets = await providers.targets(provider)
    providers.tell(provider, Refuse(), *targets)
    assert await send(provider, targets) == [Retry("refused", None, "REFUSED_STREAM")]


@pytest.mark.parametrize("provider", ["apns", "fcm", "webpush"])
async def test_a_stream_that_is_reset(provider: str, providers: Providers, send: Send) -> None:
    """Any other reset leaves it open."""
    targets = await providers.targets(provider)
    providers.tell(provider, Reset(error="INTERNAL_ERROR"), *targets)
    assert await send(provider, targets) == [Unknown("reset", "INTERNAL_ERROR")]


@pytest.mark.parametrize("provider", ["apns", "fcm", "webpush"])
async def test_a_connection_that_goes_away(provider: str, providers: Providers, send: Send) -> None:
    """Streams above the last one go again; the next slice goes over a new connection."""
    targets = await providers.targets(provider, 4)
    providers.tell(provider, GoAway(linger_s=0.2), targets[2])
    outcomes = await send(provider, targets)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, Retry, Retry]
    assert outcomes[2].code == "goaway"
    assert [type(outcome) for outcome in await send(provider, targets)] == [Accepted] * 4


@pytest.mark.parametrize("provider", ["apns", "fcm", "webpush", "sms", "sendgrid"])
async def test_answers_in_pieces(provider: str, providers: Providers, send: Send) -> None:
    """Byte by byte is an answer like any other."""
    targets = await providers.targets(provider)
    providers.tell(provider, Proceed(piece_bytes=7), *targets)
    assert [type(outcome) for outcome in await send(provider, targets)] == [Accepted]


@pytest.mark.parametrize("provider", ["apns", "fcm", "webpush", "sms", "sendgrid"])
async def test_an_answer_that_trickles(provider: str, providers: Providers, send: Send) -> None:
    """Some bytes now and then do not move the deadline; the status that came says that it was not taken."""
    targets = await providers.targets(provider)
    providers.tell(provider, Respond(503, body="x" * 5_000, piece_bytes=1), *targets)
    started = time.monotonic()
    [outcome] = await send(provider, targets, deadline_s=DEADLINE_S)
    assert time.monotonic() - started < DEADLINE_S + OVER_S
    assert isinstance(outcome, Retry)


async def test_a_dead_provider_delays_no_other(providers: Providers, send: Send) -> None:
    """While one hangs, the others send as ever."""
    hanging = []
    for provider in ("apns", "sms"):
        targets = await providers.targets(provider, 3)
        providers.tell(provider, Hang(), *targets)
        hanging.append(asyncio.ensure_future(send(provider, targets, deadline_s=3.0)))
    started = time.monotonic()
    for provider in ("fcm", "webpush", "sendgrid"):
        outcomes = await send(provider, await providers.targets(provider, 3))
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
    assert time.monotonic() - started < 2.5
    for hung in hanging:
        assert [type(outcome) for outcome in await hung] == [Unknown] * 3


@pytest.mark.parametrize("provider", ["apns", "fcm", "webpush", "sms", "sendgrid"])
async def test_nobody_listens(provider: str, providers: Providers, unused_tcp_port: int) -> None:
    """No connection: certainly not sent."""
    nowhere = f"https://127.0.0.1:{unused_tcp_port}"
    targets = await providers.targets(provider)
    if provider == "webpush":
        gateway = providers.gateway(provider, allowed_hosts=[nowhere.removeprefix("https://")])
        address = targets[0].address.replace(providers.sandbox.urls.webpush, nowhere)
        targets = [type(targets[0])(address, targets[0].contact, targets[0].client)]
    else:
        gateway = providers.gateway(provider, url=nowhere)
    [outcome] = await gateway.send(notice(), targets, deadline_s=5.0)
    assert isinstance(outcome, Retry)
    assert outcome.code == "connect"
    await gateway.aclose()


async def test_no_mail_server_listens(providers: Providers, unused_tcp_port: int) -> None:
    """The same for SMTP."""
    gateway = providers.gateway("smtp", url=f"smtp://u:p@127.0.0.1:{unused_tcp_port}")
    [outcome] = await gateway.send(notice(), await providers.targets("smtp"), deadline_s=5.0)
    assert isinstance(outcome, Retry)


@pytest.mark.parametrize("provider", [provider for provider in PROVIDERS if provider != "webpush"])
async def test_a_foreign_authority_halts_the_channel(provider: str, providers: Providers) -> None:
    """A provider whose certificate our authority did not sign gets nothing; the work waits for people."""
    gateway, message = providers.gateway(provider, ca_file=None), notice()
    with pytest.raises(ChannelHalted) as halted:
        await gateway.send(message, await providers.targets(provider, 2), deadline_s=5.0)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Retry, Retry]
    assert await providers.arrived(message.message) == 0
    await gateway.aclose()


async def test_one_push_service_that_cannot_be_trusted(providers: Providers) -> None:
    """Its trouble is not the channel's."""
    gateway = providers.gateway("webpush", ca_file=None)
    [outcome] = await gateway.send(notice(), await providers.targets("webpush"), deadline_s=5.0)
    assert isinstance(outcome, Retry)
    assert outcome.code == "tls"
    await gateway.aclose()
