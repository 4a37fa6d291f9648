"""Random histories: a few people, devices and threads, and what may happen to them, as facts with positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from domain.aggregate import Aggregate, Event
from domain.client import Client
from domain.contact import Contact
from domain.ids import Ids
from domain.message import Content, Message, ToContacts, ToEveryone, ToThread
from domain.recorded import EVENTS, DeliveryRecord, Recorded
from domain.subscription import Subscription
from domain.thread import Settings, Thread
from projections.port import Projection
from tests.memory.clock import START
from tests.memory.ports.read_models import MemoryReadModels

REALM = "main"
IDS = Ids(b"an id key for tests, of 32 bytes")
UIDS, TIDS, DEVICES, TOKENS = ("ann", "bob", "cem"), ("news", "jobs"), ("d1", "d2", "d3"), ("t1", "t2")

Step = tuple[str, ...]


def contact_id(uid: str) -> UUID:
    return IDS.contact(REALM, uid)


def thread_id(tid: str) -> UUID:
    return IDS.thread(REALM, tid)


def token_id(token: str) -> UUID:
    return IDS.token(REALM, "apns", token)


def client_id(device: str) -> UUID:
    return IDS.client(REALM, "app", device)


def app_of(device: str) -> str:
    """One of the devices is another app's."""
    return "Other" if device == "d3" else "app"


class History:
    """Carries steps out on aggregates; what they trigger becomes facts."""

    def __init__(self) -> None:
        self.aggregates: dict[tuple[type[Aggregate], UUID], Any] = {}
        self.facts: list[Recorded] = []

    def run(self, steps: Iterable[Step]) -> History:
        for name, *arguments in steps:
            made = getattr(self, f"_{name}")(*arguments)
            for event in made.collect_events() if made is not None else ():
                self.facts.append(fact_of(event, len(self.facts) + 1))
        return self

    def _now(self) -> Any:
        return START + timedelta(seconds=len(self.facts))

    def _get[A: Aggregate](self, kind: type[A], id: UUID, make: Callable[[], A]) -> A:
        if (kind, id) not in self.aggregates:
            self.aggregates[kind, id] = make()
        found: A = self.aggregates[kind, id]
        return found

    def _contact(self, uid: str) -> Contact:
        id = contact_id(uid)
        return self._get(Contact, id, lambda: Contact.create(id=id, at=self._now(), uid=uid))

    def _mail(self, uid: str, address: str) -> Contact | None:
        contact = self._contact(uid)
        if not contact.erased:
            contact.set_address(at=self._now(), channel="email", address=address, token=token_id(address))
        return contact

    def _prefer(self, uid: str, channel: str) -> Contact:
        contact = self._contact(uid)
        if not contact.erased:
            channels = (channel,) if channel else None
            contact.set_preferences(at=self._now(), channels=channels, locale="", time_zone="")
        return contact

    def _stop(self, uid: str, channel: str = "email", code: str = "stop") -> Contact:
        contact = self._contact(uid)
        contact.suppress(at=self._now(), channel=channel, code=code)
        return contact

    def _restore(self, uid: str) -> Contact:
        contact = self._contact(uid)
        contact.restore(at=self._now(), channel="email")
        return contact

    def _bounce(self, uid: str) -> Contact:
        contact = self._contact(uid)
        contact.retire_address(at=self._now(), channel="email", code="bounce", since=self._now())
        return contact

    def _erase(self, uid: str) -> Contact:
        contact = self._contact(uid)
        contact.erase(at=self._now())
        return contact

    def _enlist(self, uid: str, device: str, token: str) -> Client:
        id, contact = client_id(device), contact_id(uid)
        register: dict[str, Any] = {
            "contact": contact,
            "uid": uid,
            "channel": "apns",
            "address": token,
            "token": token_id(token),
            "properties": {},
        }
        client = self._get(
            Client,
            id,
            lambda: Client.register(id=id, at=self._now(), app=app_of(device), client_id=device, **register),
        )
        client.link(at=self._now(), contact=contact, uid=uid)
        client.set_address(at=self._now(), channel="apns", address=token, token=token_id(token))
        return client

    def _known(self, device: str) -> Client | None:
        return self.aggregates.get((Client, client_id(device)))

    def _unlink(self, device: str) -> Client | None:
        if client := self._known(device):
            client.link(at=self._now(), contact=None, uid=None)
        return client

    def _retire(self, device: str) -> Client | None:
        if client := self._known(device):
            client.retire_address(at=self._now(), code="gone")
        return client

    def _tell(self, device: str, value: str) -> Client | None:
        if client := self._known(device):
            client.change_properties(at=self._now(), properties={"os": value})
        return client

    def _doubt(self, device: str) -> Client | None:
        if client := self._known(device):
            client.quarantine(at=self._now(), token=client.token, code="doubt")
        return client

    def _open(self, tid: str) -> Thread:
        id = thread_id(tid)
        settings = Settings(owner="boss")
        return self._get(Thread, id, lambda: Thread.open(id=id, at=self._now(), tid=tid, settings=settings))

    def _rename(self, tid: str, name: str) -> Thread:
        thread = self._open(tid)
        if not thread.closed:
            thread.change(at=self._now(), settings=Settings(owner="boss", name=name))
        return thread

    def _bar(self, tid: str, mode: str) -> Thread:
        """Whom the thread lets in: the boss alone ("shut"), one more ("ann"), or everybody ("open")."""
        thread = self._open(tid)
        if not thread.closed:
            admins = (mode,) if mode in UIDS else ()
            thread.change(
                at=self._now(), settings=Settings(owner="boss", admins=admins, open_subscribe=mode == "open")
            )
        return thread

    def _close(self, tid: str) -> Thread:
        thread = self._open(tid)
        thread.close(at=self._now())
        return thread

    def _grant(self, uid: str, tid: str) -> Subscription:
        return self._join(uid, tid, granted=True)

    def _join(self, uid: str, tid: str, *, granted: bool = False) -> Subscription:
        thread, contact = thread_id(tid), contact_id(uid)
        id = IDS.subscription(REALM, thread, contact)
        subscription = self._get(
            Subscription,
            id,
            lambda: Subscription.start(
                id=id, at=self._now(), thread=thread, contact=contact, tid=tid, uid=uid, granted=granted
            ),
        )
        subscription.resume(at=self._now(), granted=granted)
        return subscription

    def _leave(self, uid: str, tid: str) -> Subscription:
        subscription = self._join(uid, tid)
        subscription.end(at=self._now())
        return subscription

    def _choose(self, uid: str, tid: str, channel: str) -> Subscription:
        subscription = self._join(uid, tid)
        subscription.prefer(at=self._now(), channels=(channel,) if channel else None)
        return subscription

    def _publish(self, tid: str, delay_s: str) -> Message:
        audience = ToThread(thread_id(tid)) if tid else ToEveryone()
        scheduled_at = self._now() + timedelta(seconds=int(delay_s)) if delay_s else None
        return self._message(audience=audience, tid=tid or None, scheduled_at=scheduled_at)

    def _send(self, uid: str) -> Message:
        return self._message(audience=ToContacts((contact_id(uid),)))

    def _message(self, **fields: Any) -> Message:
        id = IDS.message(REALM, str(len(self.facts)))
        message = Message.accept(
            id=id,
            at=self._now(),
            content=Content("hello"),
            sender="boss",
            expires_at=self._now() + timedelta(days=1),
            **fields,
        )
        self.aggregates[Message, id] = message
        return message

    def _newest(self) -> Message | None:
        return next((a for a in reversed(self.aggregates.values()) if isinstance(a, Message)), None)

    def _start(self) -> Message | None:
        if message := self._newest():
            message.fall_due(at=self._now())
        return message

    def _cancel(self) -> Message | None:
        if (message := self._newest()) and not message.due:
            message.cancel(at=self._now())
        return message

    def _finish(self) -> Message | None:
        if (message := self._newest()) and message.due:
            message.note_dispatched(at=self._now(), pages=1, contacts=2, sends=3, suppressed=0)
            message.settle(at=self._now(), totals={"accepted": 3})
        return message


def fact_of(event: Event, position: int) -> Recorded:
    return Recorded(
        stream=EVENTS,
        position=position,
        subject=f"evt.{event.TOPIC.partition('.')[0]}.00.{event.originator_id.hex}",
        topic=event.TOPIC,
        realm=REALM,
        at=event.timestamp,
        body=event,
    )


def record(stream: str, body: DeliveryRecord, position: int) -> Recorded:
    at = START + timedelta(seconds=position)
    return Recorded(stream=stream, position=position, subject="x", topic="x", realm=REALM, at=at, body=body)


uids, tids, devices = st.sampled_from(UIDS), st.sampled_from(TIDS), st.sampled_from(DEVICES)
tokens, channels = st.sampled_from(TOKENS), st.sampled_from(["", "apns", "email"])
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["contact", "erase", "stop", "restore", "bounce", "send"]), uids),
    st.tuples(st.just("mail"), uids, st.sampled_from(["", "a@example.org", "b@example.org"])),
    st.tuples(st.just("prefer"), uids, channels),
    st.tuples(st.just("enlist"), uids, devices, tokens),
    st.tuples(st.sampled_from(["unlink", "retire", "doubt"]), devices),
    st.tuples(st.just("tell"), devices, st.sampled_from(["1", "2"])),
    st.tuples(st.sampled_from(["open", "close"]), tids),
    st.tuples(st.just("rename"), tids, st.sampled_from(["x", "y"])),
    st.tuples(st.just("bar"), tids, st.sampled_from(["shut", "open", UIDS[0]])),
    st.tuples(st.sampled_from(["join", "grant", "leave"]), uids, tids),
    st.tuples(st.just("choose"), uids, tids, channels),
    st.tuples(st.just("publish"), st.sampled_from(["", *TIDS]), st.sampled_from(["", "60"])),
    st.tuples(st.sampled_from(["start", "cancel", "finish"])),
)
histories = st.lists(steps, max_size=40).map(lambda found: History().run(found))


def projected(projections: Sequence[Projection], facts: Iterable[Recorded]) -> MemoryReadModels:
    """Read models that were given these facts, in this order."""
    models = MemoryReadModels()
    for fact in facts:
        for projection in projections:
            if fact.stream in projection.streams:
                models.apply(list(projection.project(fact)))
    return models
