"""Opens the log: connection, streams, keys, event store, in the order they need each other; closes them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import structlog

from domain.recorded import DELIVERY, EVENTS, FEED, SCHEDULES, SHOPS, SIGNALS, TRIAGE
from infra.eventstore.catalogue import Catalogue, domain_catalogue
from infra.eventstore.store import JetStreamEventStore
from infra.keys.store import JetStreamKeyStore
from infra.keys.wrapping import MasterKeys
from infra.log.facts import FactReader
from infra.log.feed import FeedReader
from infra.log.feeding import FeedWriter
from infra.log.log import Background, Clock, JetStreamLog, Parts, utc_now
from infra.nats.appending.appends import Appender
from infra.nats.appending.committer import Committer
from infra.nats.guard import Guard
from infra.nats.jetstream import JetStream
from infra.nats.streams import KEYS_STREAM, PLACES_STREAM, StreamSettings, ensure
from infra.nats.wire.connection import Endpoint, connected

log = structlog.get_logger()

DRAIN_S_MAX = 10.0
"""How long closing waits for saves that are under way."""

STREAMS = (EVENTS, DELIVERY, FEED, SIGNALS, SCHEDULES, SHOPS, TRIAGE, KEYS_STREAM, PLACES_STREAM)
SHARED = (EVENTS, DELIVERY)
"""Streams whose appends are committed together."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """endpoint: where NATS is. streams: settings of streams that are to be made.

    flushes_each_write: the server runs with `sync_interval: always`, so that appends are worth sharing.
    id_key: the name of the key that ids come from, kept with streams that are made.
    """

    endpoint: Endpoint
    streams: StreamSettings = StreamSettings()
    flushes_each_write: bool = False
    id_key: str = ""


@contextlib.asynccontextmanager
async def open_log(
    config: LogConfig,
    *,
    master_key: bytes | MasterKeys,
    catalogue: Catalogue | None = None,
    clock: Clock = utc_now,
) -> AsyncIterator[JetStreamLog]:
    """The log, its streams made where they were missing. Raises Unavailable if NATS does not answer."""
    master = MasterKeys(master_key) if isinstance(master_key, bytes) else master_key
    failure: BaseException | None = None
    async with connected(config.endpoint) as connection, asyncio.TaskGroup() as tasks:
        js = JetStream(connection)
        for drift in await ensure(js, config.streams, id_key=config.id_key):
            # `msgxc doctor` says what to do; a warning with each command would be overlooked where it matters.
            tell = log.info if drift.is_of_older_version else log.warning
            tell("stream-differs", stream=drift.stream, setting=drift.setting, detail=str(drift))
        guard = Guard(js)
        await guard.begin(STREAMS)
        appenders = {stream: Appender(js, guard, stream) for stream in STREAMS}
        committers = {
            stream: Committer(appenders[stream], share_singles=config.flushes_each_write) for stream in SHARED
        }
        background = Background(tasks)
        for each in committers.values():
            background.start(each.run())
        keys = JetStreamKeyStore(js, appenders[KEYS_STREAM], master)
        await keys.open()
        known = catalogue or domain_catalogue()
        events = JetStreamEventStore(js, committers[EVENTS], known, keys)
        parts = Parts(js, guard, committers, appenders, FactReader(known, keys), background, clock)
        try:
            feed = FeedWriter(js, guard, appenders[FEED], appenders[PLACES_STREAM], clock)
            yield JetStreamLog(parts, events, keys, FeedReader(js, guard), feed)
        except BaseException as error:  # noqa: BLE001  raised again below, outside of the group
            failure = error
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S_MAX):
                    await asyncio.gather(*(each.drain() for each in committers.values()))
            background.stop()
            await keys.close()
    if failure is not None:
        raise failure  # the caller's own, not wrapped in a group
