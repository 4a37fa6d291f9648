"""The API as it is, over a world in memory: called in process, or served by a real uvicorn for sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid1, uuid4

import httpx
import jwt
import msgspec
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from api.access.auth import Verifier
from api.access.issuers import IssuerKeys
from api.access.keys import Key, KeySet
from api.app import build
from api.doppler.auth import Superusers
from api.doppler.parts import OldLinks, WebDomains
from api.emarsys.identity.id_tokens import IdTokens
from api.emarsys.identity.tokens import Tokens
from api.parts import Parts, Settings
from api.port import Probe
from api.providers import Providers
from api.sockets.live import Live
from api.sockets.protocol import OPTIONS
from cli.wiring.ports import ReceiptsToLog, RightsFromLog
from domain.people.leaving import leaving_key
from gateways.endpoint import AllowedHosts
from infra.apps.merchants import ModelledMerchants
from infra.lookups.own_directories import OwnMerchants
from infra.lookups.resolutions import FollowedResolutions
from infra.senders.vapid import DerivedVapidKeys
from processes.feeding.feed import thread_subject
from processes.port import Frame
from tests.memory.ports.apps import StoredApps
from tests.memory.ports.feed import MemoryEvents, MemoryFeed
from tests.memory.ports.feeding import MemoryFeedLog, append_frames
from tests.memory.ports.signals import MemorySignals
from tests.memory.ports.signing import MemorySigningKeys
from tests.memory.world import IDS, REALM, World, world

SECRET = b"a secret of thirty-two bytes, or more"
ROLES = ("project-events", "project-delivery", "dispatcher", "feeder")
LEAVING_KEY = leaving_key(b"an id key for tests, of 32 bytes")
EVENTS_KEY = ec.generate_private_key(ec.SECP256R1())
"""What SendGrid signs with."""
PUBLIC_URL = "https://msgxc.example.org"
TWILIO_TOKEN = "twilio-token"
OLD_KEY, OLD_IV = bytes(range(32)), bytes(range(16))
"""Of the original's links."""
PATIENCE_S = 5.0
"""Until a test that waits for something fails."""
EVER_S = 10**9
"""A rate's window that no test sees the end of: minutes end while tests run."""


class ChangingKeys:
    """api.port.KeySource that a test rotates."""

    def __init__(self) -> None:
        self.keys = KeySet((Key("k1", "HS256", SECRET),))

    def current(self) -> KeySet:
        return self.keys


def token(
    uid: str = "ann",
    *,
    role: str | None = None,
    realm: str | None = None,
    ttl_s: float = 3600,
    secret: bytes = SECRET,
    **claims: Any,
) -> str:
    said: dict[str, Any] = {"sub": uid, "exp": time.time() + ttl_s, **claims}
    if role:
        said["roles"] = [role]
    if realm:
        said["realm"] = realm
    return jwt.encode(said, secret, algorithm="HS256", headers={"kid": "k1"})


def _providers() -> Providers:
    key = EVENTS_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Providers(
        public_url=PUBLIC_URL, twilio_auth_token=TWILIO_TOKEN, sendgrid_key=b64encode(key).decode()
    )


class TokensByName:
    """api.doppler.parts.TokenCheck: what begins with "bad" is not known, with "down" nobody can say."""

    async def is_good(self, token: str) -> bool | None:
        return None if token.startswith("down") else not token.startswith("bad")


class Site:
    """client: an HTTP client without a token. feed, keys, signing: what a test makes go wrong. issuers: keys
    of id tokens, by their address.
    """

    def __init__(
        self,
        made: World,
        settings: Settings,
        sandbox: ASGIApp | None,
        probes: tuple[Probe, ...],
        *,
        strict: bool,
        superusers: Sequence[RSAPublicKey] | None = None,
    ) -> None:
        self.world, log = made, made.own.log
        self.feed, self.keys = MemoryFeed(made.streams), ChangingKeys()
        self.signing = MemorySigningKeys()
        self.apps = StoredApps(made.own.store, IDS)
        self.resolutions = FollowedResolutions(log, made.own.store)
        self.signals = MemorySignals(log)
        self.token_check = TokensByName()
        self.issuers: dict[str, IssuerKeys] = {}
        self.parts = Parts(
            bus=made.own.bus,
            models=made.models,
            ids=IDS,
            feed=self.feed,
            events=MemoryEvents(log),
            watermark=made.watermark,
            rights=RightsFromLog(log),
            receipts=ReceiptsToLog(log),
            verifier=Verifier(self.keys, now_s=time.time),
            apps=self.apps,
            vapid=DerivedVapidKeys(made.own.keys),
            merchants=OwnMerchants(ModelledMerchants(made.models)),
            resolutions=self.resolutions,
            removals=self.resolutions.removals,
            signals=self.signals,
            id_tokens=IdTokens(lambda url: self.issuers[url], now_s=lambda: made.clock().timestamp()),
            tokens=Tokens(self.signing, now_s=lambda: made.clock().timestamp()),
            clock=made.clock,
            settings=settings,
            sandbox=sandbox,
            probes=probes,
            providers=_providers(),
            leaving_key=LEAVING_KEY,
            may_push_to=AllowedHosts(["push.example"]).names,
            domains=self._domains(superusers),
        )
        self.app: Starlette = build(self.parts)
        self.live: Live = self.app.state.live
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=strict), base_url="http://msgxc"
        )
        self.port = 0

    def _domains(self, superusers: Sequence[RSAPublicKey] | None) -> WebDomains | None:
        if superusers is None:
            return None
        return WebDomains(
            superusers=Superusers(superusers),
            keys=self.world.own.keys,
            tokens=self.token_check,
            old_links=OldLinks(key=OLD_KEY, iv=OLD_IV),
        )

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: str | None = "ann",
        role: str | None = None,
        realm: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """By None: without a token."""
        sent = dict(headers or {})
        if by is not None:
            sent["Authorization"] = f"Bearer {token(by, role=role, realm=realm)}"
        content = None if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.request(method, path, content=content, headers=sent)

    async def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer of a call that must succeed."""
        got = await self.call(method, path, body, **options)
        assert got.status_code < 300, (got.status_code, got.text)
        return got.json()

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        return await self.ok(method, path, body, by="boss", role="admin")

    def socket(self, **headers: str) -> connect:
        address = f"ws://127.0.0.1:{self.port}/api/v2/connect/{uuid4()}/{uuid1()}"
        return connect(address, additional_headers=headers, compression=None)

    async def feed_frame(self, tid: str, text: str) -> None:
        """A frame on a thread's feed, in the form in which the feeder appends it."""
        body = msgspec.json.encode({"msg": text, "mid": text, "slug": f"/thread/{tid}"})
        frame = Frame(subject=thread_subject(IDS.thread(REALM, tid)), body=body, message=text)
        await append_frames(MemoryFeedLog(self.world.streams), frame)

    async def settled(self) -> None:
        await self.world.quiet()


@asynccontextmanager
async def site(
    *,
    settings: Settings | None = None,
    served: bool = False,
    sandbox: ASGIApp | None = None,
    probes: tuple[Probe, ...] = (),
    strict: bool = True,
    superusers: Sequence[RSAPublicKey] | None = None,
    roles: Sequence[str] = ROLES,
) -> AsyncIterator[Site]:
    """served: by uvicorn, on a free port of the loopback interface. strict: an unexpected error fails the test."""
    async with world(roles=roles) as made:
        it = Site(made, settings or Settings(), sandbox, probes, strict=strict, superusers=superusers)
        running = [asyncio.create_task(it.feed.run()), asyncio.create_task(it.resolutions.run())]
        try:
            if served:
                config = uvicorn.Config(it.app, log_config=None, timeout_graceful_shutdown=2, **OPTIONS)
                async with served_by(it, config):
                    yield it
            else:
                async with it.app.router.lifespan_context(it.app):
                    await eventually(lambda: it.live.watching)
                    yield it
        finally:
            for each in running:
                each.cancel()
            await it.client.aclose()


@asynccontextmanager
async def served_by(it: Site, config: uvicorn.Config) -> AsyncIterator[None]:
    """On a free port of the loopback interface."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        it.port = bound.getsockname()[1]
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        await eventually(lambda: server.started and it.live.watching)
        try:
            yield
        finally:
            it.live.drain()
            server.should_exit = True
            await serving


async def eventually(reached: Callable[[], Any]) -> None:
    """Return when the condition holds; fail when it does not for too long."""
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.005)


async def said(socket: ClientConnection) -> Any:
    """The next frame, decoded."""
    async with asyncio.timeout(PATIENCE_S):
        return msgspec.json.decode(await socket.recv())


async def say(socket: ClientConnection, **frame: Any) -> None:
    await socket.send(msgspec.json.encode(frame).decode())
