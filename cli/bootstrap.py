"""Builds the object graph, and is the one place that does: log, read models, gateways, bus, in the order they need
each other. Whatever it opens it closes, in reverse.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.registry import Collector

from cli.session import Session, now
from cli.wiring.channels import Config, GatewayChecks, build_gateway
from cli.wiring.directories import directories
from cli.wiring.stores import make_missing, open_store
from commands.bus import Bus
from commands.port import ThreadDirectory, TokenOwners
from domain.ids import Ids
from domain.notifications.sid import sid_key
from domain.recorded import EVENTS
from gateways.port import Gateway
from infra.apps.directory import FollowedApps
from infra.configuration.urls import url_of
from infra.figures.feed import FeedFigures
from infra.figures.gateway import GatewayFigures
from infra.figures.resolution import ResolutionFigures
from infra.keys.wrapping import MasterKeys
from infra.log.log import JetStreamLog
from infra.log.opened import LogConfig, open_log
from infra.log.shops import JetStreamShops, open_shops
from infra.log.signals import JetStreamSignals, open_signals
from infra.lookups.directory import FollowedThreads
from infra.lookups.resolutions import FollowedResolutions
from infra.lookups.token_owners import CaughtUpOwners
from infra.nats.streams import StreamSettings, id_key_of
from infra.nats.wire.connection import Endpoint
from infra.nonces import Nonces
from infra.readstore.store import ReadStore
from infra.secrets import SecretsError, key_id
from infra.senders.push_links import PushLinks
from infra.senders.sending import DirectorySending
from infra.senders.vapid import DerivedVapidKeys
from processes.directories import ContactData, Merchants
from processes.feeding.feeder import Feeding
from processes.models.watermark import Watermark
from processes.port import LogMismatch
from projections.catalogue import ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Everything a role may need. name: this process in the log's attempts. collectors: figures for /metrics.

    figures: of the gateways that run in this process, resolved: of its resolvers, feeding: of its feeder; the
    collectors show them.
    """

    session: Session
    name: str
    log: JetStreamLog
    shops: JetStreamShops
    signals: JetStreamSignals
    store: ReadStore
    ids: Ids
    threads: FollowedThreads
    apps: FollowedApps
    contact_data: ContactData
    resolutions: FollowedResolutions
    merchants: Merchants
    collectors: Sequence[Collector]
    figures: GatewayFigures
    resolved: ResolutionFigures
    feeding: Feeding
    gateways: Mapping[str, Gateway]
    vapid: DerivedVapidKeys
    sending: DirectorySending
    bus: Bus
    watermark: Watermark


def stream_settings(session: Session) -> StreamSettings:
    return StreamSettings(replicas=session.settings.nats.replicas)


def log_config(session: Session, endpoint: Endpoint) -> LogConfig:
    nats = session.settings.nats
    return LogConfig(
        endpoint=endpoint,
        streams=stream_settings(session),
        flushes_each_write=nats.sync == "always",
        id_key=key_id(session.keyring.id_key),
    )


def master_keys(session: Session) -> MasterKeys:
    keyring = session.keyring
    return MasterKeys(keyring.master_key, keyring.former_master_keys)


def public_url(session: Session) -> str:
    """Where browsers reach us: as set, or the address we listen on, which is good on this machine alone."""
    http = session.settings.http
    return http.public_url or url_of(http.host, http.port)


@contextlib.asynccontextmanager
async def opened_log(session: Session, endpoint: Endpoint) -> AsyncIterator[JetStreamLog]:
    """Raises SecretsError where the log's ids come from another key than ours."""
    async with open_log(log_config(session, endpoint), master_key=master_keys(session)) as log:
        await _assert_same_ids(log, key_id(session.keyring.id_key))
        yield log


async def _assert_same_ids(log: JetStreamLog, ours: str) -> None:
    events = await log.js.info(EVENTS)
    theirs = id_key_of(events) if events is not None else ""
    if theirs and theirs != ours:
        raise SecretsError(
            f"the log's ids come from the id key {theirs}, ours is {ours}: set MSGXC_ID_KEY to the one it began with"
        )


async def _assert_continues(log: JetStreamLog, store: ReadStore) -> None:
    """Raises LogMismatch where the read models have seen another log, or more of this one: it has lost its tail.

    Nobody may write then: positions would be given out twice.
    """
    # Most stand at the same place: each is asked about once.
    seen = {
        checkpoint
        for projection in ALL
        for stream in projection.streams
        if (checkpoint := await store.checkpoint(projection.name, stream)) is not None
    }
    for checkpoint in seen:
        try:
            await log.assert_continues(checkpoint)
        except LogMismatch as mismatch:
            raise LogMismatch(
                f"the read models were made of another log, or of more of this one ({mismatch}), so nothing is "
                f"written; put that log back, or build them anew from this one: msgxc projections rebuild"
            ) from None


def bus_on(
    log: JetStreamLog,
    ids: Ids,
    threads: ThreadDirectory,
    gateways: Sequence[Gateway] = (),
    owners: TokenOwners | None = None,
) -> Bus:
    """gateways: those that say what a message may be. owners: as Bus has it."""
    return Bus(
        store=log.events,
        threads=threads,
        check=GatewayChecks(tuple(gateways)),
        ids=ids,
        clock=now,
        nonce=Nonces(),
        owners=owners,
    )


@contextlib.asynccontextmanager
async def open_exchange(
    session: Session, endpoint: Endpoint, configs: Mapping[str, Config], *, projecting: bool
) -> AsyncIterator[Exchange]:
    """configs: the gateways' configurations by channel. projecting: a projector runs in this process."""
    async with contextlib.AsyncExitStack() as opened:
        log = await opened.enter_async_context(opened_log(session, endpoint))
        store = await opened.enter_async_context(open_store(session))
        await _assert_continues(log, store)
        if projecting:
            await make_missing(store)
        gateways = {channel: build_gateway(channel, config) for channel, config in configs.items()}
        for gateway in gateways.values():
            opened.push_async_callback(gateway.aclose)
        ids = Ids(session.keyring.id_key)
        resolutions = FollowedResolutions(log, log.events)
        on_reconnect = log.js.connection.on_reconnect
        threads = FollowedThreads(log, log.events, resolutions.removals, on_reconnect=on_reconnect)
        watermark = Watermark(store, local=projecting)
        owners = CaughtUpOwners(log, store, watermark)
        bus = bus_on(log, ids, threads, tuple(gateways.values()), owners)
        known = directories(session.settings, log, ids, bus, store, opened)
        vapid, figures, resolved = DerivedVapidKeys(log.keys), GatewayFigures(), ResolutionFigures()
        feeding = Feeding()
        yield Exchange(
            session=session,
            name=f"{socket.gethostname()}-{os.getpid()}",
            log=log,
            shops=await open_shops(log.js, now),
            signals=await open_signals(log.js, now),
            store=store,
            ids=ids,
            threads=threads,
            apps=known.apps,
            contact_data=known.contact_data,
            resolutions=resolutions,
            merchants=known.merchants,
            collectors=(*known.collectors, figures, resolved, FeedFigures(feeding)),
            figures=figures,
            resolved=resolved,
            feeding=feeding,
            gateways=gateways,
            vapid=vapid,
            sending=DirectorySending(
                known.apps,
                vapid,
                sid_key=sid_key(session.keyring.id_key),
                links=PushLinks(log.keys, public_url=public_url(session), clock=now),
            ),
            bus=bus,
            watermark=watermark,
        )
