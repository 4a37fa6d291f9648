"""What the API is made of: ports and settings, put in from outside by bootstrap."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import Literal

from starlette.types import ASGIApp

from api.about.metrics import Metrics
from api.access.auth import Verifier
from api.access.limits import LocalCounter, RateLimit
from api.doppler.parts import WebDomains
from api.emarsys.device_events.room import Room
from api.emarsys.identity.id_tokens import IdTokens
from api.emarsys.identity.proofs import Proofs
from api.emarsys.identity.tokens import Tokens
from api.emarsys.lines import Lines
from api.emarsys.port import Removals, Resolutions, SignalSink
from api.ezout.parts import Shops
from api.port import EventReader, FeedReader, Probe, RateCounter, ReceiptSink, RightsWatch
from api.providers import Providers
from commands.bus import Bus
from domain.ids import Ids
from gateways.port import VapidKeys
from processes.directories import AppDirectory, Merchants
from processes.models.watermark import Watermark
from projections.port import ReadModels


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """cors_origins: who may call from a browser; ("*",) is everyone. rate_*: calls per token.

    access_log: which requests are logged; metrics count all of them. sockets_max: open at a time.
    """

    version: str = "0.1.0"
    cors_origins: tuple[str, ...] = ()
    rate_quota: int = 6_000
    rate_window_s: int = 60
    access_log: Literal["all", "failures", "none"] = "failures"
    sockets_max: int = 20_000


def _anywhere(_endpoint: str) -> bool:
    return True


def _random_id() -> str:
    return token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """clock: now, in UTC. now_s: the same in seconds since 1970. sandbox: served under /sandbox when there is one.

    shops, domains: the EzOut and the doppler contract are served where they are there. providers: whose reports are
    believed. leaving_key: what the links in mails are made with (domain.people.leaving). tokens: what devices carry.
    vapid: who apps are to browsers. proofs: what devices' headers have proved. lines: who waits for a look at an app.
    room: for large bodies of devices. id_tokens: what issuers say of people. request_id: 32 fresh hex digits, for
    requests that bring no id.
    may_push_to: whether web pushes are sent to such an endpoint at all.
    """

    bus: Bus
    models: ReadModels
    ids: Ids
    feed: FeedReader
    events: EventReader
    watermark: Watermark
    rights: RightsWatch
    receipts: ReceiptSink
    verifier: Verifier
    tokens: Tokens
    apps: AppDirectory
    vapid: VapidKeys
    merchants: Merchants
    resolutions: Resolutions
    removals: Removals
    id_tokens: IdTokens
    signals: SignalSink
    clock: Callable[[], datetime]
    now_s: Callable[[], float] = time.time
    request_id: Callable[[], str] = _random_id
    counter: RateCounter = field(default_factory=LocalCounter)
    proofs: Proofs = field(default_factory=Proofs)
    lines: Lines = field(default_factory=Lines)
    room: Room = field(default_factory=Room)
    probes: Sequence[Probe] = ()
    metrics: Metrics = field(default_factory=Metrics)
    settings: Settings = field(default_factory=Settings)
    sandbox: ASGIApp | None = None
    shops: Shops | None = None
    providers: Providers = field(default_factory=Providers)
    domains: WebDomains | None = None
    may_push_to: Callable[[str], bool] = _anywhere
    leaving_key: bytes = field(default=b"", repr=False)

    def rate_limit(self) -> RateLimit:
        """The limit of calls per token; all that count with this `counter` share it."""
        settings = self.settings
        return RateLimit(
            self.counter, now_s=self.now_s, quota=settings.rate_quota, window_s=settings.rate_window_s
        )
