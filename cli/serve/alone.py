"""One role in a process of its own, on the log and the read models of an exchange that runs elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from cli.bootstrap import Exchange, open_exchange
from cli.serve.apirole import Api
from cli.serve.lifetime import settle_memory, stop_on_signals, stop_with_parent
from cli.serve.roles import following_apps
from cli.serve.webserver import listening_socket
from cli.session import Session
from cli.wiring.channels import Config, gateway_configs
from cli.wiring.endpoints import needed_endpoint, running
from cli.wiring.signing import check_signing
from infra.figures.telemetry import process_registry, serve_metrics
from infra.settings import SettingsError
from infra.supervisor import Role, Stop, Supervisor


async def run_alone(
    session: Session,
    name: str,
    make: Callable[[Exchange], Sequence[Role]],
    *,
    parent: int,
    projecting: bool,
    only: str | None,
) -> None:
    """only: build this channel's gateway and no other."""
    stop = Stop()
    configs = {channel: config for channel, config in _configs(session).items() if only in {None, channel}}
    endpoint = needed_endpoint(session, name=f"msgxc {name}")
    with stop_on_signals(stop):
        async with open_exchange(session, endpoint, configs, projecting=projecting) as exchange:
            _serve_metrics(exchange, name)
            settle_memory()
            await _run(Supervisor([*make(exchange), following_apps(exchange)]), parent, stop)


async def run_api(session: Session) -> None:
    stop = Stop()
    bound = listening_socket(session.settings.http)
    endpoint = needed_endpoint(session, name="msgxc api")
    with bound, stop_on_signals(stop):
        await check_signing(session)
        async with open_exchange(session, endpoint, _configs(session), projecting=False) as exchange:
            serving = running(session)
            api = Api(exchange, bound, None, environment=serving.sandbox if serving else None)
            api.supervisor = Supervisor(api.roles())
            settle_memory()
            await api.supervisor.run(stop)


async def _run(supervisor: Supervisor, parent: int, stop: Stop) -> None:
    watching = asyncio.create_task(stop_with_parent(parent, stop)) if parent else None
    try:
        await supervisor.run(stop)
    finally:
        if watching is not None:
            watching.cancel()


def _configs(session: Session) -> Mapping[str, Config]:
    """Of the providers, and of the sandbox of the exchange that serves from this folder."""
    serving = running(session)
    return gateway_configs(session.settings, session.keyring, sandbox=serving.sandbox if serving else None)


def _serve_metrics(exchange: Exchange, name: str) -> None:
    settings = exchange.session.settings
    if settings.metrics_port:
        registry = process_registry(version("msgxc"), name)
        for collector in exchange.collectors:
            registry.register(collector)
        try:
            serve_metrics(registry, settings.http.host, settings.metrics_port)
        except OSError as error:
            raise SettingsError(
                f"MSGXC_METRICS_PORT={settings.metrics_port}: {error.strerror}; write a free port, or 0 for none"
            ) from error
