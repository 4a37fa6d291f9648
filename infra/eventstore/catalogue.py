"""Topics and what they mean: which class an event's topic names, and how to read its body.

A topic exists once its class does: the catalogue is made from the aggregates of the domain. Topics of the
past live on as upcasters. Nothing here knows subjects, headers or keys.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypedDict, get_type_hints

import msgspec

import domain
from domain.aggregate import ENVELOPE_FIELDS, Aggregate, Created, Event
from domain.deliveries.delivery import Attempt, AudiencePage, Dispatch, OutcomeSlice, Receipt
from domain.devices.signal import DeviceEvents, Interactions, Signal
from domain.recorded import DeliveryRecord

Body = dict[str, Any]
Upcast = Callable[[Body], tuple[str, Body]]
"""A body of an old topic in; the topic it is read as, and that topic's body, out. Pure."""

UPCASTS_MAX = 32
"""A topic may be that many versions behind; more is a circle."""

DELIVERY_TOPICS: Mapping[str, type[DeliveryRecord]] = {
    "audience.v2": AudiencePage,
    "dispatch.v3": Dispatch,
    "attempt.v1": Attempt,
    "outcome.v2": OutcomeSlice,
    "receipt.v1": Receipt,
}

FORMER_DELIVERY_TOPICS: Mapping[str, type[DeliveryRecord]] = {
    "audience.v1": AudiencePage,
    "dispatch.v1": Dispatch,
    "dispatch.v2": Dispatch,
    "outcome.v1": OutcomeSlice,
}
"""Topics that are no longer written. They lack fields that have a default, and read as what is written today."""

SIGNAL_TOPICS: Mapping[str, type[Signal]] = {
    "signal.events.v1": DeviceEvents,
    "signal.interactions.v1": Interactions,
}


class UnknownTopic(ValueError):
    """No class has this topic, and no upcaster leads to one."""


class EventType:
    """One topic's class and how its body reads. Bodies are the fields that are not in the envelope."""

    __slots__ = ("_plain", "_sealed", "event", "fields", "originator_topic", "sealed_types", "shape", "topic")

    def __init__(self, event: type[Event], aggregate: type[Aggregate]) -> None:
        hints = get_type_hints(event)
        self.event, self.topic = event, event.TOPIC
        self.originator_topic = aggregate.TOPIC if issubclass(event, Created) else None
        self.fields = tuple(field.name for field in fields(event) if field.name not in ENVELOPE_FIELDS)
        self.sealed_types = {name: hints[name] for name in event.SEALED}
        plain = {name: hints[name] for name in self.fields}
        self.shape = _shape(event, plain)
        self._plain = msgspec.json.Decoder(self.shape)
        self._sealed = msgspec.json.Decoder(_shape(event, plain | dict.fromkeys(event.SEALED, bytes | None)))

    def read(self, data: bytes, *, sealed: bool) -> Body:
        """The body's fields; sealed ones still as bytes. Raises msgspec.ValidationError, a ValueError."""
        try:
            body: Body = (self._sealed if sealed else self._plain).decode(data)
        except RecursionError:
            raise ValueError("nested too deep") from None
        return body

    def convert(self, body: Body, *, sealed: bool) -> Body:
        """As `read`, for a body that an upcaster has made."""
        return self.read(msgspec.json.encode(body), sealed=sealed)


class Catalogue:
    """All topics, and the upcasters of former ones, keyed by the topic they read."""

    def __init__(
        self, aggregates: Iterable[type[Aggregate]], upcasts: Mapping[str, Upcast] | None = None
    ) -> None:
        self.types: dict[str, EventType] = {}
        self.aggregates = {aggregate.TOPIC: aggregate for aggregate in aggregates}
        self.upcasts = dict(upcasts or {})
        for aggregate in self.aggregates.values():
            for event in _events_of(aggregate):
                if event.TOPIC.partition(".")[0] != aggregate.TOPIC:
                    raise ValueError(f"{event.TOPIC} is no topic for an event of {aggregate.TOPIC}")
                self.types[event.TOPIC] = EventType(event, aggregate)

    def type_of(self, event: Event) -> EventType:
        return self.types[event.TOPIC]

    def read(self, topic: str, data: bytes, *, sealed: bool) -> tuple[EventType, Body]:
        """What a body of `topic` says today. Raises UnknownTopic, or ValueError for a body that is not one."""
        known = self.types.get(topic)
        if known is not None:
            return known, known.read(data, sealed=sealed)
        if topic not in self.upcasts:
            raise UnknownTopic(f"no event has the topic {topic}")
        body = msgspec.json.decode(data, type=Body)
        for _ in range(UPCASTS_MAX):
            upcast = self.upcasts.get(topic)
            if upcast is None:
                break
            topic, body = upcast(body)
        if topic not in self.types:
            raise UnknownTopic(f"no upcaster leads from {topic} to a known topic")
        known = self.types[topic]
        return known, known.convert(body, sealed=sealed)


def _of_no_app(topic: str) -> Upcast:
    """To `topic`, whose only new field says which app it is about: events from before that don't know."""

    def upcast(body: Body) -> tuple[str, Body]:
        return topic, {**body, "app": ""}

    return upcast


def _without_issuer(topic: str) -> Upcast:
    """To `topic`, whose settings may name an issuer of id tokens: those from before name none."""

    def upcast(body: Body) -> tuple[str, Body]:
        return topic, body

    return upcast


def _of_no_answer(body: Body) -> tuple[str, Body]:
    """From when a repeated call was answered without it."""
    return "request.made.v2", {**body, "answer": None}


def _of_unknown_grant(topic: str) -> Upcast:
    """To `topic`, which says whether an admin made somebody a member; the envelope's actor tells of those before."""

    def upcast(body: Body) -> tuple[str, Body]:
        return topic, {**body, "granted": None}

    return upcast


def _said_at_some_time(topic: str) -> Upcast:
    """To `topic`, which tells when the person said it; those from before know only when it came."""

    def upcast(body: Body) -> tuple[str, Body]:
        return topic, {**body, "said_at": None}

    return upcast


def _of_nothing_else(body: Body) -> tuple[str, Body]:
    """From when what was known of a push contact stayed sealed for its former visitor."""
    return "client.visitor-set.v2", {**body, "contact": None, "device_token": None, "email": None}


UPCASTS: Mapping[str, Upcast] = {
    "request.made.v1": _of_no_answer,
    "app.registered.v1": _without_issuer("app.registered.v2"),
    "app.changed.v1": _without_issuer("app.changed.v2"),
    "message.accepted.v1": _of_no_app("message.accepted.v2"),
    "contact.channel-suppressed.v1": _said_at_some_time("contact.channel-suppressed.v2"),
    "contact.channel-restored.v1": _said_at_some_time("contact.channel-restored.v2"),
    "client.address-set.v1": _of_no_app("client.address-set.v2"),
    "client.address-retired.v1": _of_no_app("client.address-retired.v2"),
    "client.contact-linked.v1": _of_no_app("client.contact-linked.v2"),
    "client.visitor-set.v1": _of_nothing_else,
    "subscription.started.v1": _of_unknown_grant("subscription.started.v2"),
    "subscription.resumed.v1": _of_unknown_grant("subscription.resumed.v2"),
}
"""Of the domain's own topics."""


def domain_catalogue() -> Catalogue:
    """The catalogue of all aggregates in `domain/`."""
    for module in pkgutil.walk_packages(domain.__path__, "domain."):
        importlib.import_module(module.name)
    found = [each for each in Aggregate.__subclasses__() if each.__module__.startswith("domain.")]
    return Catalogue(found, UPCASTS)


def _events_of(aggregate: type[Aggregate]) -> list[type[Event]]:
    found = [value for value in vars(aggregate).values() if isinstance(value, type)]
    return [each for each in found if issubclass(each, Event) and "TOPIC" in vars(each)]


def _shape(event: type[Event], types: dict[str, Any]) -> Any:
    """A TypedDict: msgspec decodes straight into the dictionary that becomes the event's fields."""
    return TypedDict(event.__qualname__.replace(".", ""), types)  # type: ignore[operator]
