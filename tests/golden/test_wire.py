"""The wire form can't be changed any more: these bytes are on logs out there."""

import dataclasses
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import pytest

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent
from domain.context import Context
from domain.deliveries.delivery import AudienceEntry
from domain.recorded import DELIVERY, EVENTS
from infra.eventstore.catalogue import (
    DELIVERY_TOPICS,
    FORMER_DELIVERY_TOPICS,
    UPCASTS,
    Catalogue,
    UnknownTopic,
    domain_catalogue,
)
from infra.eventstore.examples import AT, ID, example_event, example_record
from infra.eventstore.sealing import seal
from infra.eventstore.wire import digest_of, pack_event, unpack, unpack_event
from infra.nats.wire.frames import Stored, parse_headers
from tests.golden.golden import FOLDER, KEY, packed, stored_from, text_of

CATALOGUE = domain_catalogue()
TOPICS = [*CATALOGUE.types, *DELIVERY_TOPICS]
NO_ISSUER = {
    "settings": msgspec.structs.replace(
        vars(example_event(CATALOGUE.types["app.changed.v2"]))["settings"], openid=None
    )
}
FORMER: dict[str, tuple[str, dict[str, Any]]] = {
    "app.changed.v1": ("app.changed.v2", NO_ISSUER),
    "app.registered.v1": ("app.registered.v2", NO_ISSUER),
    "audience.v1": ("audience.v2", {"entries": (AudienceEntry(ID, ("apns",), "suppressed"),)}),
    "client.address-retired.v1": ("client.address-retired.v2", {"app": ""}),
    "client.address-set.v1": ("client.address-set.v2", {"app": ""}),
    "client.contact-linked.v1": ("client.contact-linked.v2", {"app": ""}),
    "client.visitor-set.v1": (
        "client.visitor-set.v2",
        {"contact": None, "device_token": None, "email": None},
    ),
    "contact.channel-restored.v1": ("contact.channel-restored.v2", {"said_at": None}),
    "contact.channel-suppressed.v1": ("contact.channel-suppressed.v2", {"said_at": None}),
    "dispatch.v1": ("dispatch.v3", {"app": "", "perhaps_sent": None}),
    "dispatch.v2": ("dispatch.v3", {"perhaps_sent": None}),
    "outcome.v1": ("outcome.v2", {"started_at": None, "perhaps_sent": None}),
    "request.made.v1": ("request.made.v2", {"answer": None}),
    "message.accepted.v1": ("message.accepted.v2", {"app": ""}),
    "subscription.resumed.v1": ("subscription.resumed.v2", {"granted": None}),
    "subscription.started.v1": ("subscription.started.v2", {"granted": None}),
}
"""Topics that are no longer written: what they are read as today, and what they could not say."""


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_written_as_it_always_was(topic: str) -> None:
    """Same event, same bytes, same digest."""
    path = FOLDER / f"{topic}.txt"
    assert path.exists(), f"{topic} is new: run python -m tests.golden.golden, once"
    assert text_of(dict(packed())[topic]) == path.read_bytes()


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_golden_bytes_read_as_what_they_always_meant(name: str) -> None:
    """Sealed ones open with their key, and read None without it. A topic that is gone still has its bytes here."""
    topic = name.removesuffix(".sealed")
    stored, digest = stored_from((FOLDER / f"{name}.txt").read_bytes())
    assert digest_of(stored) == digest
    topic, unsaid = FORMER.get(topic, (topic, {}))
    stream = DELIVERY if topic in DELIVERY_TOPICS else EVENTS
    keys = {stored.headers["Key"]: KEY} if "Key" in stored.headers else {}
    fact = unpack(stored, stream, CATALOGUE, keys)
    known = CATALOGUE.types.get(topic)
    expected = example_record(DELIVERY_TOPICS[topic]) if known is None else example_event(known)
    assert fact.body == _without(expected, unsaid)
    assert (fact.realm, fact.correlation, fact.at, fact.digest) == ("main", "r-1", AT, digest)
    if known is not None:
        assert (fact.actor, fact.causation) == ("josé 100%", "EVENTS:41")
    if keys:
        assert known is not None
        blind = unpack_event(stored, CATALOGUE, dict.fromkeys(keys))
        assert all(getattr(blind, field) is None for field in known.sealed_types)


def _without(example: Any, unsaid: dict[str, Any]) -> Any:
    """The example as it was before it could say everything that it says today."""
    change = msgspec.structs.replace if isinstance(example, msgspec.Struct) else dataclasses.replace
    return change(example, **unsaid)


def test_every_topic_that_is_no_longer_written_has_its_bytes_here() -> None:
    """Logs out there are full of them."""
    assert set(FORMER) == {*UPCASTS, *FORMER_DELIVERY_TOPICS}
    assert all((FOLDER / f"{topic}.txt").exists() for topic in FORMER)


class Parcel(Aggregate):
    """An aggregate whose first event has had three forms."""

    TOPIC = "parcel"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Sent(Event, Created):
        """v1 had one field `to`, "Jane Doe, Madrid"; v2 split it; v3 counts grams, not kilograms."""

        TOPIC = "parcel.sent.v3"
        SEALED = ("recipient",)
        recipient: str | None
        city: str
        weight_g: int

    def __init__(self, recipient: str | None, city: str, weight_g: int) -> None:
        self.recipient, self.city, self.weight_g = recipient, city, weight_g


def split_address(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    recipient, _, city = body.pop("to").partition(", ")
    return "parcel.sent.v2", {**body, "recipient": recipient, "city": city}


def weigh_in_grams(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "parcel.sent.v3", {**body, "weight_g": round(body.pop("weight_kg") * 1000)}


PARCELS = Catalogue([Parcel], {"parcel.sent.v1": split_address, "parcel.sent.v2": weigh_in_grams})
PARCEL_ID = UUID("0b4e28ba2fa181d2883f0016d3cca427")


def on_the_log(topic: str, body: bytes) -> Stored:
    """As it was written years ago."""
    block = f"NATS/1.0\r\nTopic: {topic}\r\nVersion: 1\r\nRealm: main\r\nTime: 2020-01-02T03:04:05.000006Z\r\n\r\n"
    return Stored(f"evt.parcel.0b.{PARCEL_ID.hex}", 7, parse_headers(block.encode()), body)


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("parcel.sent.v1", b'{"to":"Jane Doe, Madrid","weight_kg":1.25}'),
        ("parcel.sent.v2", b'{"recipient":"Jane Doe","city":"Madrid","weight_kg":1.25}'),
        ("parcel.sent.v3", b'{"recipient":"Jane Doe","city":"Madrid","weight_g":1250}'),
    ],
)
def test_events_of_former_topics_read_as_todays(topic: str, body: bytes) -> None:
    """An old event is never rewritten: an upcaster for each step reads it as the newest version."""
    event = unpack_event(on_the_log(topic, body), PARCELS, {})
    assert isinstance(event, Parcel.Sent)
    assert (event.recipient, event.city, event.weight_g) == ("Jane Doe", "Madrid", 1250)
    parcel = event.mutate(None)
    assert isinstance(parcel, Parcel)
    assert (parcel.id, parcel.version, parcel.weight_g) == (PARCEL_ID, 1, 1250)


def test_a_sealed_field_stays_sealed_through_an_upcaster() -> None:
    """It is bound to the topic it was written under, and opens as the newest version's field."""
    name = f"contact.{PARCEL_ID.hex}"
    place = f"parcel.sent.v2|evt.parcel.0b.{PARCEL_ID.hex}|1|recipient"
    body = {"recipient": seal("Jane Doe", KEY, place), "city": "Madrid", "weight_kg": 1.25}
    stored = on_the_log("parcel.sent.v2", msgspec.json.encode(body))
    sealed = stored._replace(headers={**stored.headers, "Key": name})
    assert b"Jane" not in sealed.data
    event = unpack_event(sealed, PARCELS, {name: KEY})
    assert isinstance(event, Parcel.Sent)
    assert (event.recipient, event.weight_g) == ("Jane Doe", 1250)


def test_a_topic_nobody_knows_is_refused() -> None:
    """Its reader is told the topic, and can put the event aside."""
    with pytest.raises(UnknownTopic):
        unpack_event(on_the_log("parcel.lost.v1", b"{}"), PARCELS, {})


def test_the_newest_form_is_what_is_written() -> None:
    """An old event that is appended anew gets today's topic."""
    event = unpack_event(on_the_log("parcel.sent.v1", b'{"to":"A, B","weight_kg":1}'), PARCELS, {})
    assert b"Topic: parcel.sent.v3\r\n" in pack_event(event, Context(), prev="").lines
