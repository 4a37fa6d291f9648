"""The `eventsourcing` library's recorders and factory over JetStream: its own `Application` runs on the log.

For notebooks and tools, synchronous, with the library's stock mapper. An application has a stream of its own,
whose subjects, partitions, expected sequences and hash chain are those of EVENTS; it never writes to EVENTS,
where its events would be poison to the projections.

    <name>.evt.aggregate.<partition>.<id>    events (or snapshots, in a stream of their own)
    <name>.trk.<application>                 how far an upstream application has been processed

Environment: NATS_URL, NATS_TOKEN or NATS_CREDS, NATS_STREAM (else the application's name), NATS_REPLICAS.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool
from nats.aio.subscription import Subscription as NatsSubscription

from commands.port import VersionConflict
from domain.errors import Unavailable
from domain.ids import PARTITIONS, partition
from infra.eventstore.blocking import BlockingJetStream
from infra.eventstore.wire import digest_of, pack_stored
from infra.nats.appending.appends import Appender, Entry
from infra.nats.guard import Guard
from infra.nats.wire.connection import Endpoint
from infra.nats.wire.errors import Refused
from infra.nats.wire.frames import Frame, Stored

EVENTS_OF_ONE_MAX = 1_000_000
"""Events of one aggregate read at once; the library asks for limits where it wants fewer."""

PAGE_MESSAGES = 1000

_EXISTS = 10058


class Place(NamedTuple):
    """A recorder's stream. gaps: whether versions may be left out (snapshots)."""

    stream: str
    gaps: bool

    @property
    def prefix(self) -> str:
        return self.stream.lower()


def _translating[**P, T](call: Callable[P, T]) -> Callable[P, T]:
    """Our errors as the library's."""

    @functools.wraps(call)
    def translated(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except VersionConflict as conflict:
            raise IntegrityError(conflict.detail) from conflict
        except Unavailable as unavailable:
            raise OperationalError(unavailable.detail) from unavailable

    return translated


class JetStreamAggregateRecorder(AggregateRecorder):
    """Events by aggregate."""

    def __init__(self, blocking: BlockingJetStream, place: Place) -> None:
        self._blocking, self._place, self._js = blocking, place, blocking.js
        self._appender = Appender(self._js, Guard(self._js), place.stream)

    @_translating
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._blocking.call(self._insert(stored_events))
        return None

    @_translating
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        subject = _subject(self._place, originator_id)
        found = self._blocking.call(self._js.read(self._place.stream, subject, limit=EVENTS_OF_ONE_MAX))
        events = [_stored_event(each) for each in found]
        chosen = [
            event
            for event in (reversed(events) if desc else events)
            if (gt is None or event.originator_version > gt)
            and (lte is None or event.originator_version <= lte)
        ]
        return chosen if limit is None else chosen[:limit]

    async def _insert(self, stored_events: Sequence[StoredEvent], *further: Entry) -> list[int]:
        """Append events and further entries as one; the events' positions."""
        entries: list[Entry] = []
        ends: dict[UUID | str, tuple[int | None, str]] = {}
        for event in stored_events:
            expect: int | None = None
            subject = _subject(self._place, event.originator_id)
            if event.originator_id not in ends:
                last = await self._js.leader_get(self._place.stream, last_by_subj=subject)
                expect = 0 if last is None else last.sequence
                ends[event.originator_id] = _end_of(last)
            version, prev = ends[event.originator_id]
            self._assert_follows(event, version)
            packed = pack_stored(subject, event.topic, event.originator_version, prev, event.state)
            ends[event.originator_id] = (event.originator_version, packed.digest)
            entries.append(Entry(subject, packed.lines, packed.body, expect))
        entries += further
        if not entries:
            return []
        first = await self._appender.append(entries) - len(entries) + 1
        return list(range(first, first + len(stored_events)))

    def _assert_follows(self, event: StoredEvent, version: int | None) -> None:
        """Raises IntegrityError for a version that is there already, or that leaves a gap."""
        if version is None:
            return
        if event.originator_version <= version:
            raise IntegrityError(f"version {version} of {event.originator_id} is there already")
        if event.originator_version > version + 1 and not self._place.gaps:
            raise IntegrityError(f"version {version + 1} of {event.originator_id} is missing")


class JetStreamApplicationRecorder(JetStreamAggregateRecorder, ApplicationRecorder):
    """Events by aggregate and by position."""

    @_translating
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self._blocking.call(self._insert(stored_events))

    @_translating
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 1 if start is None else start + (not inclusive_of_start)
        return self._blocking.call(self._notifications(max(first, 1), limit, stop, frozenset(topics)))

    @_translating
    def max_notification_id(self) -> int | None:
        last = self._blocking.call(
            self._js.leader_get(self._place.stream, last_by_subj=f"{self._place.prefix}.evt.>")
        )
        return None if last is None else last.sequence

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        return JetStreamSubscription(self, gt, topics)

    async def _notifications(
        self, first: int, limit: int, stop: int | None, topics: frozenset[str]
    ) -> list[Notification]:
        chosen: list[Notification] = []
        while len(chosen) < limit:
            page = await self._js.read(
                self._place.stream, f"{self._place.prefix}.evt.>", seq=first, limit=PAGE_MESSAGES
            )
            for stored in page:
                if stop is not None and stored.sequence > stop:
                    return chosen[:limit]
                if not topics or stored.headers["Topic"] in topics:
                    chosen.append(_notification(stored))
            if len(page) < PAGE_MESSAGES:
                break
            first = page[-1].sequence + 1
        return chosen[:limit]


class JetStreamSubscription(ListenNotifySubscription[JetStreamApplicationRecorder]):
    """The library's own pulling, woken by each message that goes to the stream."""

    def __init__(self, recorder: JetStreamApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        blocking, prefix = recorder._blocking, recorder._place.prefix  # noqa: SLF001  its other half
        connection = blocking.js.connection
        self._blocking, self._connection = blocking, connection
        self._listening: NatsSubscription | None = blocking.call(
            connection.route_surely(f"{prefix}.evt.>", self._on_frame)
        )
        self._end_watch = connection.on_reconnect(self._has_been_notified.set)
        self._has_been_notified.set()  # for what came in between

    def stop(self) -> None:
        super().stop()
        listening, self._listening = getattr(self, "_listening", None), None
        if listening is not None:
            self._end_watch()
            self._blocking.call(self._connection.unroute(listening))

    def _on_frame(self, _: Frame) -> None:
        # Seen before it is stored, perhaps; the pull that follows asks until the end of the stream.
        self._has_been_notified.set()


class JetStreamTrackingRecorder(TrackingRecorder):
    """How far upstream applications have been processed."""

    def __init__(self, blocking: BlockingJetStream, place: Place) -> None:
        self._blocking, self._place, self._js = blocking, place, blocking.js
        self._appender = Appender(self._js, Guard(self._js), place.stream)

    @_translating
    def insert_tracking(self, tracking: Tracking) -> None:
        async def insert() -> None:
            await self._appender.append([await self._tracking_entry(tracking)])

        self._blocking.call(insert())

    @_translating
    def max_tracking_id(self, application_name: str) -> int | None:
        last = self._blocking.call(self._last_tracking(application_name))
        return None if last is None else int(last.data)

    async def _tracking_entry(self, tracking: Tracking) -> Entry:
        """Raises IntegrityError for a position that is not beyond the last."""
        last = await self._last_tracking(tracking.application_name)
        if last is not None and int(last.data) >= tracking.notification_id:
            raise IntegrityError(f"{tracking.application_name} is tracked up to {int(last.data)} already")
        expect = 0 if last is None else last.sequence
        body = b"%d" % tracking.notification_id
        return Entry(self._tracking_subject(tracking.application_name), b"", body, expect)

    async def _last_tracking(self, application_name: str) -> Stored | None:
        subject = self._tracking_subject(application_name)
        return await self._js.leader_get(self._place.stream, last_by_subj=subject)

    def _tracking_subject(self, application_name: str) -> str:
        return f"{self._place.prefix}.trk.{application_name.encode().hex()}"


class JetStreamProcessRecorder(JetStreamTrackingRecorder, JetStreamApplicationRecorder, ProcessRecorder):
    """Events, and the upstream position that they follow from, in one atomic append."""

    @_translating
    def insert_events(
        self, stored_events: Sequence[StoredEvent], *, tracking: Tracking | None = None, **kwargs: Any
    ) -> Sequence[int] | None:
        async def insert() -> list[int]:
            further = [] if tracking is None else [await self._tracking_entry(tracking)]
            return await self._insert(stored_events, *further)

        return self._blocking.call(insert())


class JetStreamFactory(InfrastructureFactory[JetStreamTrackingRecorder]):
    """Set PERSISTENCE_MODULE=infra.eventstore.recorder, and see the module's docstring."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self._blocking = BlockingJetStream(
            Endpoint(
                urls=self.env.get("NATS_URL") or "nats://127.0.0.1:4222",
                token=self.env.get("NATS_TOKEN"),
                creds_file=self.env.get("NATS_CREDS"),
                name="msgxc-recorder",
            )
        )

    def close(self) -> None:
        self._blocking.close()

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        place = self._place("" if purpose == "events" else purpose, gaps=purpose != "events")
        return JetStreamAggregateRecorder(self._blocking, place)

    def application_recorder(self) -> ApplicationRecorder:
        topic = self.env.get(self.APPLICATION_RECORDER_TOPIC)
        recorder: type[JetStreamApplicationRecorder] = (
            resolve_topic(topic) if topic else JetStreamApplicationRecorder
        )
        return recorder(self._blocking, self._place())

    def tracking_recorder(
        self, tracking_recorder_class: type[JetStreamTrackingRecorder] | None = None
    ) -> JetStreamTrackingRecorder:
        topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
        chosen = tracking_recorder_class or (resolve_topic(topic) if topic else JetStreamTrackingRecorder)
        recorder: JetStreamTrackingRecorder = chosen(self._blocking, self._place())
        return recorder

    def process_recorder(self) -> ProcessRecorder:
        topic = self.env.get(self.PROCESS_RECORDER_TOPIC)
        recorder: type[JetStreamProcessRecorder] = resolve_topic(topic) if topic else JetStreamProcessRecorder
        return recorder(self._blocking, self._place())

    def _place(self, purpose: str = "", *, gaps: bool = False) -> Place:
        """The stream for a purpose, made if need be."""
        name = self.env.get("NATS_STREAM") or self.env.name or "APPLICATION"
        place = Place("_".join(filter(None, [name.upper(), purpose.upper()])), gaps)
        if strtobool(self.env.get("CREATE_TABLE") or "yes"):
            self._blocking.call(self._make(place))
        return place

    async def _make(self, place: Place) -> None:
        config = {
            "name": place.stream,
            "subjects": [f"{place.prefix}.evt.>", f"{place.prefix}.trk.>"],
            "storage": "file",
            "num_replicas": int(self.env.get("NATS_REPLICAS") or "1"),
            "deny_delete": True,
            "deny_purge": True,
            "discard": "new",
            "allow_direct": True,
            "allow_atomic": True,
        }
        try:
            await self._blocking.js.api(f"STREAM.CREATE.{place.stream}", config)
        except Refused as refused:
            if refused.failure.err_code != _EXISTS:
                raise


def _subject(place: Place, id: UUID | str) -> str:
    if isinstance(id, UUID):
        return f"{place.prefix}.evt.aggregate.{partition(id)}.{id.hex}"
    number = sha256(id.encode()).digest()[0] % PARTITIONS
    return f"{place.prefix}.evt.aggregate.{number:02x}.s{id.encode().hex()}"


def _id_of(subject: str) -> UUID | str:
    token = subject.rpartition(".")[2]
    return bytes.fromhex(token[1:]).decode() if token.startswith("s") else UUID(token)


def _end_of(last: Stored | None) -> tuple[int | None, str]:
    return (None, "") if last is None else (int(last.headers["Version"]), digest_of(last))


def _stored_event(stored: Stored) -> StoredEvent:
    headers = stored.headers
    return StoredEvent(_id_of(stored.subject), int(headers["Version"]), headers["Topic"], stored.data)


def _notification(stored: Stored) -> Notification:
    headers = stored.headers
    return Notification(
        _id_of(stored.subject), int(headers["Version"]), headers["Topic"], stored.data, stored.sequence
    )
