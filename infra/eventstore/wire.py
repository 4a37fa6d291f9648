"""The wire form: what an event looks like on the log. It can't be changed any more.

Headers carry the envelope, each left out when empty, values percent-encoded where they are not plain ASCII:

    Topic    message.accepted.v2        Cause   position or id of what this follows from
    Version  the aggregate's version    Corr    the request's id, the same along the whole chain
    Realm    the tenant                 Time    the accepting process's, UTC, microseconds
    Actor    who                        Prev    digest of the aggregate's previous event
    Key      name of the key that seals the sealed fields
    Claim    hash of the command's parameters, on the first event of what an idempotency key made

The body is the JSON of the event's own fields, in the order of its class. The digest is the SHA-256 of the
subject, the ten values in this order (Topic, Version, Realm, Actor, Cause, Corr, Time, Prev, Key, Claim), each
ended by a line feed, and the body. Headers that the server adds (`Nats-*`) are not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, unquote
from uuid import UUID

import msgspec

from domain.aggregate import ENVELOPE_FIELDS, Event, restored
from domain.context import Context
from domain.devices.signal import Signal, SignalKind, signal_subject
from domain.errors import Invalid
from domain.ids import partition
from domain.recorded import DELIVERY, EVENTS, SHOPS, SIGNALS, DeliveryRecord, Recorded
from domain.shop import ShopMessage, decode
from infra.eventstore.catalogue import (
    DELIVERY_TOPICS,
    FORMER_DELIVERY_TOPICS,
    SIGNAL_TOPICS,
    Catalogue,
    UnknownTopic,
)
from infra.eventstore.sealing import key_name, seal_fields, unseal_fields
from infra.nats.wire.frames import Stored

HEADERS = ("Topic", "Version", "Realm", "Actor", "Cause", "Corr", "Time", "Prev", "Key", "Claim")

HEADER_VALUE_CHARS_MAX = 1024
"""Actor and correlation come from outside; headers are no place for documents."""

REALMS_MAX = 10_000
"""Realms remembered as they stand in headers, about 1 MB."""

_TOPIC_OF = {record: topic for topic, record in DELIVERY_TOPICS.items()}
_DELIVERY_DECODERS = {
    topic: msgspec.json.Decoder(record)
    for topic, record in {**FORMER_DELIVERY_TOPICS, **DELIVERY_TOPICS}.items()
}
_SIGNAL_TOPIC_OF = {record: topic for topic, record in SIGNAL_TOPICS.items()}
_SIGNAL_DECODERS = {topic: msgspec.json.Decoder(record) for topic, record in SIGNAL_TOPICS.items()}
_encode_json = msgspec.json.Encoder().encode
encode_signal = _encode_json
"""A signal's body."""


class Packed(msgspec.Struct, frozen=True):
    """A fact ready to be appended. lines: its headers as they go out."""

    subject: str
    lines: bytes
    body: bytes
    digest: str


def event_subject(aggregate_topic: str, id: UUID) -> str:
    digits = id.int.to_bytes(16).hex()  # a format takes thrice as long
    return f"evt.{aggregate_topic}.{partition(id)}.{digits}"


def digest(subject: str, headers: Mapping[str, str], body: bytes) -> str:
    """Hex SHA-256 over subject, our headers in fixed order, and body."""
    get = headers.get
    text = "\n".join([subject, *[get(name, "") for name in HEADERS], ""])
    return sha256(text.encode() + body).hexdigest()


def digest_of(stored: Stored) -> str:
    return digest(stored.subject, stored.headers, stored.data)


def pack_event(
    event: Event,
    context: Context,
    *,
    prev: str,
    key: bytes | None = None,
    claim: str | None = None,
    digested: bool = True,
) -> Packed:
    """key: of the name that `sealing.key_name` gives; None seals nothing.

    digested: False leaves the digest out, a third of the work, where nobody will ask for it.
    """
    topic = event.TOPIC
    subject = event_subject(topic.partition(".")[0], event.originator_id)
    body = vars(event).copy()
    for name in ENVELOPE_FIELDS:
        body.pop(name, None)
    sealed_by = ""
    if key is not None:
        sealed_by = key_name(event)
        seal_fields(event, body, key, subject)
    values = (
        topic,
        str(event.originator_version),
        _safe_realm(context.realm),
        _safe(context.actor) if context.actor else "",
        _safe(context.causation) if context.causation else "",
        _safe(context.correlation),
        time_text(event.timestamp),
        prev,
        sealed_by,
        _safe(claim) if claim else "",
    )
    encoded = _encode_json(body)
    if digested:
        return _pack(subject, values, encoded)
    return Packed(subject, _lines(values).encode(), encoded, "")


def pack_delivery(subject: str, record: DeliveryRecord, *, at: datetime, correlation: str) -> Packed:
    """Its digest is left out, half of the work for a page of five hundred: no other record refers to it."""
    topic, realm = _TOPIC_OF[type(record)], _safe(record.realm)
    values = (topic, "", realm, "", "", _safe(correlation), time_text(at), "", "", "")
    return Packed(subject, _lines(values).encode(), _encode_json(record), "")


def pack_signal(signal: Signal, kind: SignalKind, *, realm: str, at: datetime, correlation: str) -> Packed:
    """Its digest is left out: nothing refers to a signal, and this is done for every request of a device."""
    lines = signal_lines(type(signal), realm=realm, at=at, correlation=correlation)
    return Packed(signal_subject(kind, signal.client), lines, encode_signal(signal), "")


def signal_lines(kind: type[Signal], *, realm: str, at: datetime, correlation: str) -> bytes:
    """The header lines, the same for all signals of a kind that a realm has at a time."""
    corr = f"Corr: {_safe(correlation)}\r\n" if correlation else ""
    topic = _SIGNAL_TOPIC_OF[kind]
    return f"Topic: {topic}\r\nRealm: {_safe_realm(realm)}\r\n{corr}Time: {time_text(at)}\r\n".encode()


def pack_shop(subject: str, topic: str, body: bytes, *, at: datetime, context: Context) -> Packed:
    """A till's message as it was published. Its digest is left out, as a signal's is."""
    corr = f"Corr: {_safe(context.correlation)}\r\n" if context.correlation else ""
    actor = f"Actor: {_safe(context.actor)}\r\n" if context.actor else ""
    lines = f"Topic: {topic}\r\n{corr}Time: {time_text(at)}\r\nRealm: {_safe(context.realm)}\r\n{actor}"
    return Packed(subject, lines.encode(), body, "")


def pack_bytes(
    subject: str, topic: str, body: bytes, *, at: datetime, correlation: str = "", **further: str
) -> Packed:
    """A message whose body is not ours to read: a frame, a schedule, what was put aside.

    further: headers of this kind of message; they are not part of the digest.
    """
    values = (topic, "", "", "", "", _safe(correlation), time_text(at), "", "", "")
    lines = "".join([f"{name}: {_safe(value)}\r\n" for name, value in further.items() if value])
    return _pack(subject, values, body, lines)


def pack_stored(subject: str, topic: str, version: int, prev: str, state: bytes) -> Packed:
    """An event of the library's own mapper: its state is not ours to read, the chain holds all the same."""
    return _pack(subject, (_safe(topic), str(version), "", "", "", "", "", prev, "", ""), state)


def unpack(
    stored: Stored,
    stream: str,
    catalogue: Catalogue,
    keys: Mapping[str, bytes | None],
    *,
    digested: bool = True,
) -> Recorded:
    """The fact in a message of EVENTS, DELIVERY, SHOPS or SIGNALS.

    keys: of every name in a `Key` header; None for a destroyed one, whose fields read None. digested: False leaves the
    digest out, a fifth of the work, where nobody will ask for it.
    Raises ValueError for a message that is none of ours (poison).
    """
    headers = stored.headers
    body: Event | DeliveryRecord | ShopMessage | Signal
    if stream == EVENTS:
        body = unpack_event(stored, catalogue, keys)
    elif stream == DELIVERY:
        body = _unpack_delivery(stored)
    elif stream == SHOPS:
        body = decode(stored.data)
    elif stream == SIGNALS:
        body = _unpack_signal(stored)
    else:
        raise ValueError(f"{stream} holds no facts of ours")
    get = headers.get
    return Recorded(
        stream=stream,
        position=stored.sequence,
        subject=stored.subject,
        topic=get("Topic", ""),
        realm=_plain(get("Realm", "")),
        actor=_plain(get("Actor", "")),
        causation=_plain(get("Cause", "")),
        correlation=_plain(get("Corr", "")),
        at=body.timestamp if isinstance(body, Event) else time_of(headers),
        digest=digest_of(stored) if digested else "",
        body=body,
    )


def unpack_event(stored: Stored, catalogue: Catalogue, keys: Mapping[str, bytes | None]) -> Event:
    """Raises ValueError for a message that is no event of the catalogue."""
    headers, subject = stored.headers, stored.subject
    try:
        topic, version = headers["Topic"], int(headers["Version"])
        at = datetime.fromisoformat(headers["Time"])
        name = headers.get("Key", "")
        key = keys[name] if name else None
    except KeyError as missing:
        raise ValueError(f"no {missing} for this event") from None
    known, fields = catalogue.read(topic, stored.data, sealed=bool(name))
    if name and known.sealed_types:
        unseal_fields(topic, known.sealed_types, fields, key, (subject, version))
    fields["originator_id"] = msgspec.convert(subject[-32:], UUID)
    fields["originator_version"] = version
    fields["timestamp"] = at
    if known.originator_topic is not None:
        fields["originator_topic"] = known.originator_topic
    return restored(known.event, fields)


def _unpack_delivery(stored: Stored) -> DeliveryRecord:
    topic = stored.headers.get("Topic", "")
    decoder = _DELIVERY_DECODERS.get(topic)
    if decoder is None:
        raise UnknownTopic(f"no record has the topic {topic!r}")
    return decoder.decode(stored.data)


def _unpack_signal(stored: Stored) -> Signal:
    topic = stored.headers.get("Topic", "")
    decoder = _SIGNAL_DECODERS.get(topic)
    if decoder is None:
        raise UnknownTopic(f"no signal has the topic {topic!r}")
    return decoder.decode(stored.data)


def time_text(at: datetime) -> str:
    """Always UTC, always six digits, so that equal times are equal bytes."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    if at.microsecond:
        # Hot path: the same digits as below, in a sixth of the time; but it leaves out a fraction of nothing.
        return _encode_json(at)[1:-1].decode()
    return at.isoformat(timespec="microseconds")[:-6] + "Z"


def _pack(subject: str, values: tuple[str, ...], body: bytes, further: str = "") -> Packed:
    """values: of HEADERS, in order, as they may stand in a header."""
    text = "\n".join((subject, *values, ""))
    return Packed(
        subject, (_lines(values) + further).encode(), body, sha256(text.encode() + body).hexdigest()
    )


def _lines(values: tuple[str, ...]) -> str:
    """Hot path: written out and joined once, in a quarter of the time that going through HEADERS takes."""
    topic, version, realm, actor, cause, corr, time, prev, key, claim = values
    parts = (
        "Topic: ", topic,
        "\r\nVersion: " if version else "", version,
        "\r\nRealm: " if realm else "", realm,
        "\r\nActor: " if actor else "", actor,
        "\r\nCause: " if cause else "", cause,
        "\r\nCorr: " if corr else "", corr,
        "\r\nTime: " if time else "", time,
        "\r\nPrev: " if prev else "", prev,
        "\r\nKey: " if key else "", key,
        "\r\nClaim: " if claim else "", claim,
        "\r\n",
    )  # fmt: skip
    return "".join(parts)


def _safe(value: str) -> str:
    """As it may stand in a header: what is not printable ASCII, and %, percent-encoded."""
    # Hot path: a regular expression takes four times as long.
    plain = value.isascii() and value.isprintable() and "%" not in value and value.strip(" ") == value
    if plain and len(value) <= HEADER_VALUE_CHARS_MAX:
        return value
    if len(value) > HEADER_VALUE_CHARS_MAX:
        raise Invalid(f"{value[:20]}... is longer than {HEADER_VALUE_CHARS_MAX} characters")
    return quote(value, safe="!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")


_safe_realm = lru_cache(REALMS_MAX)(_safe)
"""Hot path: there are few. Of those who act many act once, as each new device."""


def header_text(headers: Mapping[str, str], name: str) -> str:
    """A header's value as it was given; "" if it is absent."""
    return _plain(headers.get(name, ""))


def _plain(value: str) -> str:
    return unquote(value) if "%" in value else value


def time_of(headers: Mapping[str, str]) -> datetime:
    """In UTC. Raises ValueError."""
    if "Time" not in headers:
        raise ValueError("no time")
    at = datetime.fromisoformat(headers["Time"])
    if at.tzinfo is None:  # else it would be another one wherever this machine's zone is another
        raise ValueError("a time without a zone")
    try:
        return at.astimezone(UTC)
    except OverflowError:  # of the first or the last day that there is, in another zone
        raise ValueError("a time that cannot be in UTC") from None
