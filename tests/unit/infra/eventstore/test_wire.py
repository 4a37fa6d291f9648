"""Whatever is written reads back as what it was, and nothing can be changed or moved unnoticed."""

import dataclasses
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.aggregate import Aggregate, Event
from domain.client import Client
from domain.contact import Contact
from domain.context import Context
from domain.errors import Invalid
from domain.recorded import EVENTS, SHOPS
from domain.thread import Settings, Thread
from infra.eventstore.catalogue import domain_catalogue
from infra.eventstore.sealing import Unsealable, key_name
from infra.eventstore.wire import (
    HEADER_VALUE_CHARS_MAX,
    Packed,
    digest_of,
    pack_event,
    time_text,
    unpack,
    unpack_event,
)
from infra.nats.wire.frames import Stored, parse_headers
from tests.unit.infra.eventstore.strategies import events, texts

CATALOGUE = domain_catalogue()
KEY = bytes(range(32))
AT = datetime(2026, 1, 2, tzinfo=UTC)
any_event = st.sampled_from(sorted(CATALOGUE.types)).flatmap(lambda topic: events(CATALOGUE.types[topic]))
AN_EVENT = Client.RefreshOpened(
    originator_id=UUID(int=1), originator_version=2, timestamp=AT, family=UUID(int=2)
)
contexts = st.builds(Context, realm=texts, actor=texts, causation=texts, correlation=texts)


def stored(packed: Packed) -> Stored:
    """As the server gives it back, with headers of its own among ours."""
    block = b"NATS/1.0\r\nNats-Sequence: 5\r\n" + packed.lines + b"Nats-Stream: EVENTS\r\n\r\n"
    return Stored(packed.subject, 5, parse_headers(block), packed.body)


@given(any_event, contexts, st.text("0123456789abcdef", max_size=64))
def test_an_event_and_its_envelope_read_back_equal(event: Event, context: Context, prev: str) -> None:
    """Any event, any context, with the server's own headers in between."""
    packed = pack_event(event, context, prev=prev, claim="c")
    message = stored(packed)
    fact = unpack(message, EVENTS, CATALOGUE, {})
    assert fact.body == event
    assert (fact.realm, fact.actor) == (context.realm, context.actor)
    assert (fact.causation, fact.correlation) == (context.causation, context.correlation)
    assert (fact.at, fact.topic) == (event.timestamp, event.TOPIC)
    assert fact.digest == packed.digest == digest_of(message)
    assert message.headers.get("Prev", "") == prev


@given(any_event, contexts)
def test_headers_are_printable_ascii_whatever_people_call_themselves(event: Event, context: Context) -> None:
    """No name or request id can end a header line, or the message."""
    lines = pack_event(event, context, prev="").lines
    for line in lines.split(b"\r\n"):
        assert line.decode("ascii").isprintable()


@pytest.mark.parametrize("name", ["", "ann", "a b", "#$&'~!", "x" * HEADER_VALUE_CHARS_MAX])
def test_a_plain_name_stands_in_a_header_as_it_is(name: str) -> None:
    """So that whoever reads the log sees it; up to the longest."""
    packed = pack_event(AN_EVENT, Context(actor=name), prev="")
    assert stored(packed).headers.get("Actor", "") == name


@pytest.mark.parametrize("name", [" ann", "ann ", "ann\n", "50%", "a\x7f", "\x1fa", "é", "ann\u2028"])
def test_any_other_name_is_percent_encoded(name: str) -> None:
    """What headers would lose or take for something else reads back all the same."""
    header = stored(pack_event(AN_EVENT, Context(actor=name), prev="")).headers["Actor"]
    assert header != name
    assert unquote(header) == name


def test_a_name_that_is_too_long_is_refused() -> None:
    """Headers are no place for documents."""
    with pytest.raises(Invalid, match="1024"):
        pack_event(AN_EVENT, Context(actor="x" * (HEADER_VALUE_CHARS_MAX + 1)), prev="")


@given(any_event)
def test_sealed_fields_open_with_their_key_alone(event: Event) -> None:
    """With the key the event is equal; when the key was destroyed, exactly the sealed fields are None."""
    name = key_name(event)
    if not name:
        return
    message = stored(pack_event(event, Context(), prev="", key=KEY))
    assert message.headers["Key"] == name
    assert unpack_event(message, CATALOGUE, {name: KEY}) == event
    blind = unpack_event(message, CATALOGUE, {name: None})
    nothing: dict[str, Any] = dict.fromkeys(event.SEALED)
    assert blind == dataclasses.replace(event, **nothing)


@given(any_event, st.data())
def test_any_changed_byte_changes_the_digest(event: Event, data: st.DataObject) -> None:
    """Of body, subject, or any of our headers."""
    message = stored(pack_event(event, Context(actor="u"), prev=""))
    place = data.draw(st.integers(0, max(len(message.data) - 1, 0)))
    body = bytearray(message.data)
    body[place] ^= 1
    digest = digest_of(message)
    assert digest_of(message._replace(data=bytes(body))) != digest
    assert digest_of(message._replace(subject=message.subject + "0")) != digest
    for header in ("Topic", "Version", "Actor", "Time"):
        changed = {**message.headers, header: message.headers[header] + "0"}
        assert digest_of(message._replace(headers=changed)) != digest


def an_address(key: bytes = KEY) -> tuple[Stored, str]:
    event = Contact.AddressSet(
        originator_id=UUID(int=7),
        originator_version=2,
        timestamp=AT,
        channel="sms",
        address="+34600000001",
        token=None,
    )
    return stored(pack_event(event, Context(), prev="", key=key)), key_name(event)


def test_a_sealed_value_moved_to_another_event_does_not_open() -> None:
    """Neither under another subject nor as another version; nor with another key."""
    message, name = an_address()
    moved = message._replace(subject=message.subject[:-1] + "8")
    with pytest.raises(Unsealable):
        unpack_event(moved, CATALOGUE, {name: KEY})
    later = message._replace(headers={**message.headers, "Version": "3"})
    with pytest.raises(Unsealable):
        unpack_event(later, CATALOGUE, {name: KEY})
    with pytest.raises(Unsealable):
        unpack_event(message, CATALOGUE, {name: bytes(32)})


def test_a_key_that_was_not_fetched_is_no_reason_to_read_none() -> None:
    """None means destroyed. A key that is missing for any other reason makes the event unreadable."""
    message, _ = an_address()
    with pytest.raises(ValueError, match="no 'contact"):
        unpack_event(message, CATALOGUE, {})


def test_what_is_no_event_is_a_value_error() -> None:
    """So that a reader can put it aside."""
    message, name = an_address()
    for headers, body in [
        ({}, b""),
        ({**message.headers, "Version": "x"}, message.data),
        ({**message.headers, "Time": "yesterday"}, message.data),
        (message.headers, b"{}"),
        (message.headers, b"not json"),
        (message.headers, b"\xff\xfe"),
    ]:
        with pytest.raises(ValueError):  # noqa: PT011  any of them will do
            unpack(message._replace(headers=headers, data=body), EVENTS, CATALOGUE, {name: KEY})


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-02T00:00:00", "yesterday", ""],
)
def test_a_shops_message_of_no_time_is_a_value_error(time: str) -> None:
    """Published past us, its time may be anything; whoever reads it need not ask whether it can be said in UTC."""
    shop = UUID(int=1)
    message = Stored(
        f"updates.store.{shop}", 5, {"Time": time}, b'{"shop_id":"%b","data":1}' % str(shop).encode()
    )
    assert unpack(message._replace(headers={"Time": time_text(AT)}), SHOPS, CATALOGUE, {}).at == AT
    with pytest.raises(ValueError):  # noqa: PT011  any of them will do
        unpack(message, SHOPS, CATALOGUE, {})


def test_an_event_too_deep_to_be_read_is_a_value_error() -> None:
    """So it is held as poison, and the readers of the log go on."""
    settings = Settings(owner="boss")
    [event] = Thread.open(id=UUID(int=1), at=AT, tid="t", settings=settings).pending_events
    assert isinstance(event, Event)
    message = stored(pack_event(event, Context(), prev=""))
    deep = b"[" * 50_000 + b"]" * 50_000
    body = b'{"tid":"t","settings":{"defaults":{"a":' + deep + b"}}}"
    with pytest.raises(ValueError, match="too deep"):
        unpack(message._replace(data=body), EVENTS, CATALOGUE, {})


def test_a_name_that_is_no_name_is_refused() -> None:
    """A header is no place for a document."""
    with pytest.raises(Invalid):
        pack_event(an_event(), Context(actor="x" * 2000), prev="")


def test_a_time_without_a_zone_is_refused() -> None:
    """It would mean another instant elsewhere."""
    with pytest.raises(ValueError, match="zone"):
        pack_event(dataclasses.replace(an_event(), timestamp=AT.replace(tzinfo=None)), Context(), prev="")


def test_equal_times_are_equal_bytes() -> None:
    """Whatever the zone or the precision they came in."""
    elsewhere = AT.astimezone(timezone(timedelta(hours=2)))
    one = pack_event(an_event(), Context(), prev="")
    two = pack_event(dataclasses.replace(an_event(), timestamp=elsewhere), Context(), prev="")
    assert one == two
    assert b"Time: 2026-01-02T00:00:00.000000Z\r\n" in one.lines


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_a_time_has_six_digits_whatever_they_are(at: datetime) -> None:
    """Fractions of nothing and of a millisecond are written out; the year 1 and the year 9999 may be left."""
    assume(MINYEAR < at.year < MAXYEAR)
    assert time_text(at) == at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def an_event() -> Event:
    return Thread.Closed(originator_id=UUID(int=7), originator_version=2, timestamp=AT)


def replayed(aggregate: Aggregate) -> Aggregate | None:
    """The aggregate as another process would have it, from the bytes of its events."""
    twin: Aggregate | None = None
    for event in aggregate.pending_events:
        assert isinstance(event, Event)
        message = stored(pack_event(event, Context(), prev="", key=KEY if key_name(event) else None))
        twin = unpack_event(message, CATALOGUE, {key_name(event): KEY}).mutate(twin)
    return twin


settings = st.builds(
    Settings, name=texts, owner=texts, open_publish=st.booleans(), channels=st.none() | st.just(())
)
thread_steps = st.lists(st.one_of(settings, st.just("close")), max_size=8)


@given(settings, thread_steps)
def test_a_replayed_thread_equals_the_one_that_was_changed(
    first: Settings, steps: list[Settings | str]
) -> None:
    """Whatever was done to it, through the bytes of its events."""
    thread = Thread.open(id=UUID(int=1), at=AT, tid="t", settings=first)
    for step in steps:
        if isinstance(step, Settings):
            if not thread.closed:
                thread.change(at=AT, settings=step)
        else:
            thread.close(at=AT)
    twin = replayed(thread)
    thread.collect_events()
    assert twin == thread


addresses = st.tuples(st.sampled_from(["apns", "fcm"]), texts, st.uuids())
client_steps = st.lists(
    st.one_of(
        addresses.map(lambda value: ("address", value)),
        st.one_of(st.none(), st.uuids()).map(lambda value: ("link", value)),
        st.dictionaries(texts, texts, max_size=2).map(lambda value: ("properties", value)),
        st.just(("retire", None)),
    ),
    max_size=8,
)


@given(client_steps)
def test_a_replayed_client_equals_the_one_that_was_changed(steps: list[tuple[str, Any]]) -> None:
    """Whatever was done to it, sealed addresses included."""
    client = Client.register(
        id=UUID(int=1), at=AT, app="a", client_id="c", contact=None, uid=None,
        channel=None, address=None, token=None, properties={},
    )  # fmt: skip
    for what, value in steps:
        match what, value:
            case "address", (channel, address, token):
                client.set_address(at=AT, channel=channel, address=address, token=token)
            case "link", contact:
                client.link(at=AT, contact=contact, uid=None)
            case "properties", properties:
                client.change_properties(at=AT, properties=properties)
            case _:
                client.retire_address(at=AT, code="cleared")
    twin = replayed(client)
    client.collect_events()
    assert twin == client
