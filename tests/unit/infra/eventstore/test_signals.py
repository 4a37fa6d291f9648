"""Signals on the wire. Their bytes can't change: what is on the stream is read for as long as it is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from domain.devices.signal import (
    CampaignView,
    DeviceEvent,
    DeviceEvents,
    Interaction,
    Interactions,
    Refused,
    Signal,
    SignalKind,
)
from domain.recorded import SIGNALS
from infra.eventstore.wire import pack_signal, unpack
from infra.nats.wire.frames import Stored, parse_headers
from tests.memory.ports.event_store import CATALOGUE

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
CLIENT, CONTACT = UUID("481efe13-f2ad-8120-971a-9444be3dd9ef"), UUID("2795157f-e25d-8ab1-8f89-c2dccf551082")

EVENTS = DeviceEvents(
    client=CLIENT,
    contact=CONTACT,
    app="EMS1",
    events=(
        DeviceEvent(
            name="push:click",
            at=AT,
            internal=True,
            attributes={"sid": "s"},
            session="1",
            tracking="t",
            reporting="r",
        ),
        DeviceEvent(name="ü", at=AT),
    ),
    clicks=(CampaignView(campaign="c", at=AT, button="b"),),
    viewed=(CampaignView(campaign="c", at=AT),),
    refused=(Refused(part="events", index=1, reason="why", item="{}"),),
    dnd=True,
    state={"a": [1]},
)
EVENTS_BODY = (
    '{"client":"481efe13-f2ad-8120-971a-9444be3dd9ef","contact":"2795157f-e25d-8ab1-8f89-c2dccf551082","app":"EMS1",'
    '"events":[{"name":"push:click","at":"2026-01-02T03:04:05.678000Z","internal":true,"attributes":{"sid":"s"},'
    '"session":"1","tracking":"t","reporting":"r"},{"name":"ü","at":"2026-01-02T03:04:05.678000Z"}],'
    '"clicks":[{"campaign":"c","at":"2026-01-02T03:04:05.678000Z","button":"b"}],'
    '"viewed":[{"campaign":"c","at":"2026-01-02T03:04:05.678000Z"}],'
    '"refused":[{"part":"events","index":1,"reason":"why","item":"{}"}],"dnd":true,"state":{"a":[1]}}'
)
CALLS = Interactions(
    client=CLIENT,
    app="EMS1",
    calls=(
        Interaction(at=AT, call="GET /x", status=200, took_ms=3, correlation="r"),
        Interaction(at=AT, call="POST /y", status=204, dropped="contact-disabled", items=2, contact=CONTACT),
    ),
)
CALLS_BODY = (
    '{"client":"481efe13-f2ad-8120-971a-9444be3dd9ef","app":"EMS1","calls":[{"at":"2026-01-02T03:04:05.678000Z",'
    '"call":"GET /x","status":200,"took_ms":3,"correlation":"r"},{"at":"2026-01-02T03:04:05.678000Z",'
    '"call":"POST /y","status":204,"dropped":"contact-disabled","items":2,'
    '"contact":"2795157f-e25d-8ab1-8f89-c2dccf551082"}]}'
)


@pytest.mark.parametrize(
    ("signal", "kind", "topic", "body"),
    [
        (EVENTS, "effects", "signal.events.v1", EVENTS_BODY),
        (CALLS, "interaction", "signal.interactions.v1", CALLS_BODY),
    ],
)
def test_a_signal_is_written_like_this_for_ever(
    signal: Signal, kind: SignalKind, topic: str, body: str
) -> None:
    """Subject, headers and body, byte for byte; and it reads back as it was."""
    packed = pack_signal(signal, kind, realm="möbel", at=AT, correlation="r-1")
    assert packed.subject == f"signal.{kind}.08.{CLIENT.hex}"
    assert packed.lines.decode() == (
        f"Topic: {topic}\r\nRealm: m%C3%B6bel\r\nCorr: r-1\r\nTime: 2026-01-02T03:04:05.678000Z\r\n"
    )
    assert packed.body.decode() == body
    headers = parse_headers(b"NATS/1.0\r\n" + packed.lines + b"\r\n")
    fact = unpack(Stored(packed.subject, 7, headers, packed.body), SIGNALS, CATALOGUE, {})
    assert (fact.body, fact.realm, fact.correlation, fact.at) == (signal, "möbel", "r-1", AT)


def test_a_signal_of_an_unknown_topic_is_poison() -> None:
    """Nobody guesses at what a later version means."""
    stored = Stored("signal.events.00.x", 7, {"Topic": "signal.events.v9", "Realm": "main"}, b"{}")
    with pytest.raises(ValueError, match=r"signal\.events\.v9"):
        unpack(stored, SIGNALS, CATALOGUE, {})
