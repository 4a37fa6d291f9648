"""`msgxc serve`: everything on one machine. nats-server as a child, the sandbox where a channel needs it, all roles.

Owns the order of the start and of the end: what others need is opened first and closed last, nats-server last of
all. `--processes` gives each role a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import typer

from api.providers.routes import EVENTS_PATH, REPLIES_PATH
from cli import streams
from cli.bootstrap import Exchange, open_exchange
from cli.serve import demo, roles
from cli.serve.apirole import Api
from cli.serve.children import child_roles
from cli.serve.greeting import greeting
from cli.serve.lifetime import settle_memory, stop_on_signals
from cli.serve.projecting import projecting
from cli.serve.resolving import resolving
from cli.serve.webserver import address, listening_socket
from cli.session import Session
from cli.tokens import sign
from cli.wiring.channels import LOCAL_URL, Config, gateway_configs, sandboxed_channels
from cli.wiring.endpoints import (
    Serving,
    announce,
    configured_endpoint,
    embedded_server,
    local_endpoint,
    withdraw,
)
from cli.wiring.shops import res_service
from cli.wiring.signing import check_signing
from domain.context import DEFAULT_REALM
from domain.recorded import EVENTS
from infra.nats.wire.connection import Endpoint
from infra.sandbox import Sandbox
from infra.supervisor import Role, Stop, Supervisor

NAME = "msgxc serve"


@dataclass(frozen=True, slots=True)
class Ground:
    """What all roles stand on. sandbox None: every channel has its provider. environment: the sandbox's settings."""

    session: Session
    bound: socket.socket
    endpoint: Endpoint
    sandbox: Sandbox | None
    environment: Mapping[str, str]
    configs: Mapping[str, Config]

    @property
    def address(self) -> str:
        return address(self.bound)


async def serve(session: Session, *, processes: bool) -> None:
    """Run until SIGINT or SIGTERM."""
    stop = Stop()
    with session.folder.held(), stop_on_signals(stop):
        withdraw(session)
        # Keys that cannot be used stop the start, not the first call.
        await check_signing(session)
        async with ground(session) as on:
            try:
                await run_roles(on, stop, processes=processes)
            finally:
                withdraw(session)


@contextlib.asynccontextmanager
async def ground(session: Session) -> AsyncIterator[Ground]:
    async with contextlib.AsyncExitStack() as opened:
        bound = listening_socket(session.settings.http)
        opened.callback(bound.close)
        endpoint = configured_endpoint(session, name=NAME)
        if endpoint is None:
            server = await opened.enter_async_context(embedded_server(session))
            endpoint = local_endpoint(server, name=NAME)
        sandbox = None
        if sandboxed_channels(session.settings):
            token = DemoTokens(session, bound)
            sandbox = await opened.enter_async_context(Sandbox(session.folder.sandbox, demo_token=token))
        environment = _reporting(sandbox, address(bound)) if sandbox else {}
        configs = gateway_configs(session.settings, session.keyring, sandbox=environment)
        yield Ground(session, bound, endpoint, sandbox, environment, configs)


def _reporting(sandbox: Sandbox, url: str) -> Mapping[str, str]:
    """Have the sandbox report to us, as set in the providers' consoles; its environment."""
    sandbox.receipts.replies_url, sandbox.receipts.sendgrid_url = url + REPLIES_PATH, url + EVENTS_PATH
    return {**sandbox.environment(), LOCAL_URL: url}


async def run_roles(on: Ground, stop: Stop, *, processes: bool) -> None:
    """The API here, with the sandbox's page; the other roles beside it, or each in a process of its own."""
    async with open_exchange(on.session, on.endpoint, on.configs, projecting=not processes) as exchange:
        page = on.sandbox.app if on.sandbox else None
        api = Api(exchange, on.bound, page, environment=on.environment)
        others = child_roles(on.configs) if processes else here(exchange)
        supervisor = Supervisor([*api.roles(), *others])
        api.supervisor = supervisor

        async def ready() -> None:
            settle_memory()
            await greet(on, exchange)

        api.ready = ready
        # Before anybody can call: whoever finds us ready finds the demo contact subscribed.
        await make_demo(on, exchange)
        _announce(on)
        await supervisor.run(stop)


def here(exchange: Exchange) -> list[Role]:
    return [
        projecting(exchange, alone=True),
        res_service(exchange),
        *roles.dispatching(exchange),
        *resolving(exchange),
        *roles.gateways(exchange),
    ]


async def make_demo(on: Ground, exchange: Exchange) -> None:
    if on.sandbox is None:
        return
    made = demo.Demo(
        exchange.bus,
        on.sandbox,
        marker=on.session.folder.path / "demo.unfinished",
        vapid_public_key=demo.vapid_public_key(on.session.keyring.vapid_file.read_bytes()),
    )
    await made.make(log_is_empty=await exchange.log.end(EVENTS) == 0)


async def greet(on: Ground, exchange: Exchange) -> None:
    thread = await exchange.threads.thread(exchange.ids.thread(DEFAULT_REALM, demo.TID))
    lines = greeting(
        on.session,
        on.address,
        channels=_channels(on),
        has_sandbox=on.sandbox is not None,
        has_demo=thread is not None and not thread.closed,
    )
    try:
        typer.echo("\n".join(lines))
    except OSError:
        # An exchange whose greeting nobody reads serves all the same.
        streams.give_up()


class DemoTokens:
    """What the sandbox's page publishes and listens with: infra.sandbox.page.DemoToken."""

    def __init__(self, session: Session, bound: socket.socket) -> None:
        self._session, self._bound = session, bound

    async def __call__(self) -> dict[str, str]:
        token = sign(self._session, uid=demo.UID, ttl_s=3600)
        sockets = address(self._bound).replace("http", "ws", 1)
        return {
            "tid": demo.TID,
            "token": token,
            "ws_url": f"{sockets}/api/v2/connect/{uuid.uuid4()}/{uuid.uuid1()}",
        }


def _channels(on: Ground) -> str:
    sandboxed = sandboxed_channels(on.session.settings)
    names = ["websocket", *on.configs]
    return ", ".join(f"{name} (sandbox)" if name in sandboxed else name for name in names)


def _announce(on: Ground) -> None:
    announce(on.session, Serving(os.getpid(), on.address, on.endpoint.shown, dict(on.environment)))
