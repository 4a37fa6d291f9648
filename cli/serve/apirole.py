"""The API as a role: its parts from the exchange, served by uvicorn in our loop."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

from starlette.types import ASGIApp

from api.about.metrics import Metrics
from api.access.auth import Verifier
from api.app import build
from api.emarsys.identity.id_tokens import IdTokens
from api.emarsys.identity.tokens import Tokens
from api.parts import Parts, Settings
from api.sockets.protocol import OPTIONS
from cli.bootstrap import Exchange
from cli.serve.resolving import following_resolutions
from cli.serve.roles import following_apps
from cli.serve.webserver import DRAIN_S, serve_http
from cli.session import now
from cli.wiring.channels import providers_of, push_hosts_of
from cli.wiring.jwks import verifying_keys
from cli.wiring.ports import EventsByPosition, ReceiptsToLog, RightsFromLog
from cli.wiring.probes import FeedProbe, LogProbe, ModelsProbe, RolesProbe
from cli.wiring.shops import shops_of
from cli.wiring.signing import signing_keys
from cli.wiring.webdomains import domains_of
from domain.people.leaving import leaving_key
from infra.figures.telemetry import process_registry
from infra.log.signals import SignalFigures
from infra.nonces import Nonces
from infra.rates import SharedCounter
from infra.supervisor import Role, Stop, Supervisor

AFTER_DRAIN_S = 4.0
"""For uvicorn itself, once requests are through."""


class Api:
    """supervisor is set once the roles are known: its probe looks at all of them. environment: the sandbox's."""

    def __init__(
        self,
        exchange: Exchange,
        bound: socket.socket,
        sandbox: ASGIApp | None,
        *,
        environment: Mapping[str, str] | None,
    ) -> None:
        self._exchange, self._bound, self._sandbox, self._environment = exchange, bound, sandbox, environment
        self._counter = SharedCounter(exchange.log.js.connection)
        self._verifier = Verifier(verifying_keys(exchange.session), now_s=time.time)
        self._domains = domains_of(exchange)
        self.supervisor: Supervisor | None = None
        self.ready: Callable[[], Awaitable[None]] = _nothing

    def roles(self) -> list[Role]:
        """The API, and what it needs running beside it."""
        return [
            Role("api", self._run, drain_s=DRAIN_S + AFTER_DRAIN_S),
            Role("rates", self._count, drain_s=0.0),
            Role("directory", self._follow_threads, drain_s=0.0),
            following_apps(self._exchange),
            following_resolutions(self._exchange),
        ]

    async def _count(self, _stop: Stop) -> None:
        await self._counter.run()

    async def _follow_threads(self, _stop: Stop) -> None:
        await self._exchange.threads.run()

    async def _run(self, stop: Stop) -> None:
        async with signing_keys(self._exchange.session) as keys, self._exchange.signals.writing():
            app = build(self._parts(Tokens(keys, now_s=time.time)))
            drain = app.state.live.drain
            await serve_http(app, self._bound, stop, options=OPTIONS, ready=self.ready, drain=drain)

    def _parts(self, tokens: Tokens) -> Parts:
        exchange = self._exchange
        assert self.supervisor is not None
        settings, sandbox = exchange.session.settings, self._environment
        http = settings.http
        return Parts(
            bus=exchange.bus,
            models=exchange.store,
            ids=exchange.ids,
            feed=exchange.log.feed_reader,
            events=EventsByPosition(exchange.log),
            watermark=exchange.watermark,
            rights=RightsFromLog(exchange.log),
            receipts=ReceiptsToLog(exchange.log),
            verifier=self._verifier,
            tokens=tokens,
            apps=exchange.apps,
            vapid=exchange.vapid,
            merchants=exchange.merchants,
            resolutions=exchange.resolutions,
            removals=exchange.resolutions.removals,
            id_tokens=self._id_tokens(),
            signals=exchange.signals,
            clock=now,
            request_id=Nonces(),
            counter=self._counter,
            probes=(
                LogProbe(exchange),
                ModelsProbe(exchange),
                FeedProbe(exchange),
                RolesProbe(self.supervisor),
            ),
            metrics=self._metrics(),
            settings=Settings(
                version=version("msgxc"),
                cors_origins=http.cors_origins,
                rate_quota=http.rate_per_minute,
                rate_window_s=60,
            ),
            sandbox=self._sandbox,
            shops=shops_of(exchange, self._verifier),
            domains=self._domains,
            leaving_key=leaving_key(exchange.session.keyring.id_key),
            providers=providers_of(settings, sandbox=sandbox),
            may_push_to=push_hosts_of(settings, sandbox=sandbox).names,
        )

    def _id_tokens(self) -> IdTokens:
        from infra.firebase import JwksKeys

        ca_file = self._exchange.session.settings.ca_file
        return IdTokens(lambda url: JwksKeys(url, ca_file=ca_file), now_s=time.time)

    def _metrics(self) -> Metrics:
        metrics = Metrics(process_registry(version("msgxc"), "api"))
        for collector in self._exchange.collectors:
            metrics.registry.register(collector)
        metrics.registry.register(SignalFigures(self._exchange.signals))
        return metrics


async def _nothing() -> None:
    """Nobody wants to know."""
