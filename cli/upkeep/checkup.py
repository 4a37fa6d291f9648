"""The doctor's checks, each a function that returns findings. They read; what is amiss is mended only if asked."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from cli.bootstrap import bus_on, opened_log, stream_settings
from cli.console import Failure
from cli.session import Session, now
from cli.upkeep.findings import Finding
from cli.upkeep.numbers import numbers
from cli.upkeep.retries import retries
from cli.wiring.endpoints import any_endpoint, running
from cli.wiring.jwks import verifying_keys
from cli.wiring.signing import describe_signing
from cli.wiring.stores import make_missing, open_store
from cli.wiring.webdomains import superuser_keys
from commands.bus import Bus
from domain.errors import MsgxcError
from domain.ids import Ids
from domain.recorded import DELIVERY, EVENTS, SCHEDULES, TRIAGE, Checkpoint
from infra.log.log import JetStreamLog
from infra.lookups.directory import FollowedThreads
from infra.lookups.removals import RememberedRemovals
from infra.nats.server import ServerFailed
from infra.nats.streams import Drift, drift_of, stream_configs, widen
from infra.readstore.store import ReadStore
from infra.secrets import KeyInfo, SecretsError, describe
from infra.settings import SettingsError
from processes.dispatching.scheduler import target
from processes.models.holds import is_of_generation, owner_of, source_of
from projections.catalogue import ALL
from projections.messages import UPCOMING

DISK_FREE_SHARE_MIN = 0.10
DISK_FREE_BYTES_MIN = 2 << 30
"""nats-server refuses writes when the disk is full: two gigabytes are an hour of a busy log."""
FULL_SHARE_MAX = 0.85
LAG_MAX = 10_000
WAITING_MAX = 10_000


async def checkup(session: Session, *, mend: bool) -> list[Finding]:
    findings = [*_settings(session), *await _all_keys(session), *_disk(session), *_serving(session)]
    try:
        async with (
            any_endpoint(session, name="msgxc doctor") as endpoint,
            opened_log(session, endpoint) as log,
        ):
            findings += [Finding("ok", "log", f"answers at {endpoint.shown}")]
            findings += [finding async for finding in _streams(session, log, mend=mend)]
            findings += [finding async for finding in _work(log)]
            findings += [await _feed(log)]
            findings += await _models(session, log, mend=mend)
    except (MsgxcError, Failure, ServerFailed) as error:
        findings.append(Finding("fail", "log", str(error), "start msgxc serve, or mend MSGXC_NATS_URL"))
    return findings


def _settings(session: Session) -> list[Finding]:
    sandboxed = sorted({"apns", "fcm", "webpush", "sms", "email"} - session.settings.configured_channels)
    store = "Cassandra" if session.settings.cassandra.hosts else "SQLite"
    channels = f"; to the sandbox: {', '.join(sandboxed)}" if sandboxed else ""
    return [Finding("ok", "settings", f"valid; read models on {store}{channels}")]


async def _all_keys(session: Session) -> list[Finding]:
    keys: list[KeyInfo] = []
    unusable: list[Finding] = []
    with contextlib.suppress(SecretsError):  # which is told below
        keys += describe(session.folder, session.keyring, session.settings.keys)
    try:
        keys += await describe_signing(session)
    except (MsgxcError, Failure) as error:
        unusable.append(Finding("fail", "keys", str(error), "mend MSGXC_SDK_KEYS"))
    for read in (lambda: verifying_keys(session), lambda: superuser_keys(session.settings.doppler.keys)):
        try:
            read()
        except (SecretsError, SettingsError) as error:
            unusable.append(Finding("fail", "keys", str(error), "mend it: no API starts like this"))
    return [*_keys(keys), *unusable]


def _keys(keys: list[KeyInfo]) -> list[Finding]:
    open_to_others = [info for info in keys if not info.private]
    if not open_to_others:
        return [Finding("ok", "keys", "; ".join(f"{info.name} {info.id}" for info in keys))]
    return [
        Finding("fail", "keys", f"{info.source} can be read by others", f"chmod 600 {info.source}")
        for info in open_to_others
    ]


def _disk(session: Session) -> list[Finding]:
    usage = shutil.disk_usage(session.folder.path)
    detail = (
        f"{usage.free / 2**30:,.1f} GiB free of {usage.total / 2**30:,.1f} where {session.folder.path} is"
    )
    if usage.free < DISK_FREE_BYTES_MIN:
        return [Finding("fail", "disk", detail, "make room: the log refuses events when the disk is full")]
    if usage.free < DISK_FREE_SHARE_MIN * usage.total:
        return [Finding("warn", "disk", detail, "make room soon")]
    return [Finding("ok", "disk", detail)]


def _serving(session: Session) -> list[Finding]:
    serving = running(session)
    if serving is not None:
        return [Finding("ok", "serve", f"process {serving.pid} at {serving.address}")]
    if not session.settings.nats.embedded:
        return [Finding("ok", "serve", "roles run on their own (MSGXC_NATS_URL)")]
    return [Finding("warn", "serve", "nothing serves from this folder", "msgxc serve")]


async def _streams(session: Session, log: JetStreamLog, *, mend: bool) -> AsyncIterator[Finding]:
    differing = 0
    for config in stream_configs(stream_settings(session)):
        info = await log.js.info(config["name"])
        drifts = drift_of(config, info) if info else []
        for drift in drifts:
            differing += 1
            yield await _mended(log, drift, mend=mend)
    if not differing:
        yield Finding("ok", "streams", "as they should be")
    events = await log.js.info(EVENTS)
    if events is not None:
        yield _room(events.state.bytes, int(events.config.get("max_bytes") or 0), events.state.messages)


async def _triage(log: JetStreamLog, store: ReadStore) -> AsyncIterator[Finding]:
    """What waits for somebody. A generation that was dropped waits for nothing, and what it put aside stays there."""
    there = {source_of(info) for projection in ALL for info in await store.generations(projection.name)}
    aside = await _put_aside(log)
    if waiting := _facts(aside, lambda source: source in there or not is_of_generation(source)):
        yield _waiting(waiting)


async def _triage_alone(log: JetStreamLog) -> AsyncIterator[Finding]:
    """As `_triage`, while nobody knows which generations there are."""
    aside = await _put_aside(log)
    if waiting := _facts(aside, lambda source: not is_of_generation(source)):
        yield _waiting(waiting)
    if perhaps := _facts(aside, is_of_generation):
        detail = f"{perhaps:,} facts that read models put aside are in {TRIAGE}; which still wait, the read store knows"
        yield Finding("warn", "triage", detail, "msgxc doctor, once the read store answers")


async def _put_aside(log: JetStreamLog) -> set[tuple[str, str]]:
    """What is on TRIAGE: under which name, and which fact."""
    named = (subject.split(".", 2) for subject in await log.js.counts(TRIAGE, "triage.*.*"))
    return {(source, fact) for _, source, fact in named}


def _facts(aside: set[tuple[str, str]], is_meant: Callable[[str], bool]) -> int:
    """Those under the names that are meant.

    Each counts once: a generation that is kept for a roll-back has put aside what the live one has, too.
    """
    return len({(owner_of(source), fact) for source, fact in aside if is_meant(source)})


def _waiting(facts: int) -> Finding:
    detail = f"{facts:,} facts could not be dealt with and wait in {TRIAGE}"
    return Finding("warn", "triage", detail, "look at the reasons: nats stream view TRIAGE")


async def _mended(log: JetStreamLog, drift: Drift, *, mend: bool) -> Finding:
    if not drift.is_of_older_version:
        return Finding("warn", "streams", str(drift), f"nats stream edit {drift.stream}, if it was not meant")
    if mend:
        await widen(log.js, drift)
        return Finding("ok", "streams", f"{drift.stream}: {drift.setting} is {drift.wanted!r} from now on")
    detail = f"{drift}: an older version made it"
    return Finding("warn", "streams", detail, "msgxc doctor --mend, by who may change streams")


def _room(size: int, limit: int, facts: int) -> Finding:
    detail = f"{facts:,} events, {size / 2**20:,.1f} MiB"
    if limit > 0 and size > FULL_SHARE_MAX * limit:
        return Finding(
            "fail", "events", f"{detail}, {size / limit:.0%} of max_bytes", "raise max_bytes of EVENTS"
        )
    return Finding("ok", "events", detail)


class _Consumer(msgspec.Struct):
    name: str
    config: dict[str, Any]
    num_pending: int
    num_ack_pending: int
    num_redelivered: int
    paused: bool = False


class _Consumers(msgspec.Struct):
    consumers: list[_Consumer] | None


async def _work(log: JetStreamLog) -> AsyncIterator[Finding]:
    """Facts that wait for a role."""
    waiting = 0
    for stream in (EVENTS, DELIVERY, SCHEDULES):
        answer = await log.js.api(f"CONSUMER.LIST.{stream}", {"offset": 0})
        for consumer in msgspec.json.decode(answer, type=_Consumers).consumers or []:
            if not consumer.config.get("durable_name"):
                continue
            waiting += consumer.num_pending
            if consumer.paused:
                advice = "it goes on by itself after a backup; else: nats consumer resume"
                yield Finding("warn", "work", f"{consumer.name} on {stream} is paused", advice)
            if consumer.num_pending > WAITING_MAX:
                detail = f"{consumer.num_pending:,} facts wait for {consumer.name}"
                yield Finding("warn", "work", detail, "start more processes of that role")
    yield Finding("ok", "work", f"{waiting:,} facts wait")


async def _feed(log: JetStreamLog) -> Finding:
    """Messages that sockets do not show yet."""
    lag = await log.feed.lag()
    if lag > LAG_MAX:
        return Finding("warn", "feed", f"what sockets show is {lag:,} facts behind", "start msgxc dispatch")
    return Finding("ok", "feed", f"what sockets show is {lag:,} facts behind")


async def _models(session: Session, log: JetStreamLog, *, mend: bool) -> list[Finding]:
    try:
        async with open_store(session) as store:
            await make_missing(store)
            findings = [finding async for finding in _triage(log, store)]
            findings += [finding async for finding in _projections(log, store)]
            findings += await _schedules(log, store, mend=mend)
            bus = _own_bus(session, log)
            findings += await retries(log, store, bus, now=now(), mend=mend)
            return findings + await numbers(log, store, bus, now=now(), mend=mend)
    except MsgxcError as error:
        away = Finding("fail", "read models", str(error), "look after the read store, or MSGXC_CASSANDRA")
        return [*[finding async for finding in _triage_alone(log)], away]


def _own_bus(session: Session, log: JetStreamLog) -> Bus:
    """For what is mended by commands; none of them asks for a thread twice."""
    removals, on_reconnect = RememberedRemovals(log.events), log.js.connection.on_reconnect
    threads = FollowedThreads(log, log.events, removals, on_reconnect=on_reconnect)
    return bus_on(log, Ids(session.keyring.id_key), threads)


async def _projections(log: JetStreamLog, store: ReadStore) -> AsyncIterator[Finding]:
    for projection in ALL:
        infos = await store.generations(projection.name)
        live = next((info for info in infos if info.state == "live"), None)
        if live is not None and live.version != projection.version:
            detail = f"{projection.name} was built by an older version and is not kept up to date"
            yield Finding("fail", "read models", detail, f"msgxc projections rebuild {projection.name}")
        for stream in projection.streams:
            checkpoint = await store.checkpoint(projection.name, stream)
            yield _standing(
                projection.name, stream, checkpoint, await log.epoch(stream), await log.end(stream)
            )


def _standing(name: str, stream: str, at: Checkpoint | None, epoch: str, end: int) -> Finding:
    position = at.position if at else 0
    if at is not None and (at.epoch != epoch or position > end):
        detail = f"{name} belongs to another life of {stream} (restored, or lost its tail)"
        return Finding("fail", "read models", detail, f"msgxc projections rebuild {name}")
    if end - position > LAG_MAX:
        advice = "wait if it is catching up (msgxc projections lag); else start msgxc project"
        return Finding("warn", "read models", f"{name} is {end - position:,} facts behind {stream}", advice)
    return Finding("ok", "read models", f"{name} is at {stream}:{position}, {end - position:,} behind")


async def _schedules(log: JetStreamLog, store: ReadStore, *, mend: bool) -> list[Finding]:
    """Scheduled messages whose schedule is gone: it fired and nobody heard, or a restore took it."""
    count, lost = 0, 0
    async for rows in store.scan(UPCOMING):
        for row in rows:
            count += 1
            message: UUID = row["message"]
            if await _is_scheduled(log, row["realm"], message):
                continue
            lost += 1
            if mend:
                due = max(row["scheduled"], now() + timedelta(seconds=1))
                await log.schedule(
                    f"message-{message.hex}", due, target=target(row["realm"], message), body=b""
                )
    if not lost:
        return [Finding("ok", "schedules", f"{count:,} messages scheduled, each with its schedule")]
    if mend:
        return [Finding("ok", "schedules", f"{lost:,} of {count:,} had lost their schedule; written anew")]
    return [
        Finding("fail", "schedules", f"{lost:,} of {count:,} have lost their schedule", "msgxc doctor --mend")
    ]


async def _is_scheduled(log: JetStreamLog, realm: str, message: UUID) -> bool:
    """Its schedule is there, or it has fired and waits for its worker."""
    subjects = (f"schedule.message-{message.hex}", target(realm, message))
    for subject in subjects:
        if await log.js.leader_get(SCHEDULES, last_by_subj=subject) is not None:
            return True
    return False
