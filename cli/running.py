"""`msgxc serve`, and each role alone: `api`, `project`, `dispatch`, `resolve`, `gateway CHANNEL`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import USAGE, fail
from cli.examples import examples
from cli.session import Session, open_session, run_async

if TYPE_CHECKING:
    from cli.bootstrap import Exchange
    from infra.supervisor import Role

WithParent = Annotated[int, typer.Option(hidden=True, help="End with this process.")]


def serve(
    processes: Annotated[
        bool, typer.Option("--processes", help="Give each role a process of its own.")
    ] = False,
) -> None:
    """Serve everything from this machine.

    The log, the read models, all channels, in one process with nats-server as its child.

    A channel without credentials goes to the sandbox, which sends nothing to anybody and shows what arrived.
    """
    session = _begin()
    from cli.serve.everything import serve as run_all

    run_async(run_all(session, processes=processes))


def project(with_parent: WithParent = 0) -> None:
    """Keep the read models up to date."""
    from cli.serve.projecting import projecting
    from cli.wiring.shops import res_service

    _run_alone(
        "project",
        lambda exchange: [projecting(exchange), res_service(exchange)],
        with_parent,
        projecting=True,
    )


def dispatch(with_parent: WithParent = 0) -> None:
    """Decide who gets what, by which channel.

    Also retries, settles messages, and cleans up afterwards.
    """
    from cli.serve import roles

    _run_alone("dispatch", roles.dispatching, with_parent)


def resolve(with_parent: WithParent = 0) -> None:
    """Give contacts their numbers.

    Asks the contact data who was named, and keeps clients true to their contacts.
    """
    from cli.serve.resolving import resolving

    _run_alone("resolve", resolving, with_parent)


def gateway(
    channel: Annotated[str, typer.Argument(help="apns, fcm, webpush, sms, email, or a further one.")],
    with_parent: WithParent = 0,
) -> None:
    """Send what is dispatched to one channel."""
    from cli.serve import roles
    from gateways.registry import channels

    if channel not in channels():
        fail(f"there is no channel {channel}; there are {', '.join(channels())}", code=USAGE)

    def of_channel(exchange: Exchange) -> Sequence[Role]:
        if channel not in exchange.gateways:
            there = ", ".join(exchange.gateways) or "none"
            fail(
                f"{channel} has no credentials and no sandbox runs: set them (.env.example); configured: {there}"
            )
        return [roles.gateway(exchange, channel)]

    _run_alone(f"gateway-{channel}", of_channel, with_parent, only=channel)


def api() -> None:
    """Answer HTTP and web sockets."""
    session = _begin()
    from cli.serve.alone import run_api

    run_async(run_api(session))


def _begin() -> Session:
    session = open_session()
    from infra.figures.telemetry import configure_logging

    configure_logging(session.settings.log.level, session.settings.log.form, is_final=True)
    return session


def _run_alone(
    name: str,
    make: Callable[[Exchange], Sequence[Role]],
    parent: int,
    *,
    projecting: bool = False,
    only: str | None = None,
) -> None:
    session = _begin()
    from cli.serve.alone import run_alone

    run_async(run_alone(session, name, make, parent=parent, projecting=projecting, only=only))


COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (
        serve,
        examples(
            "msgxc serve",
            "MSGXC_HTTP_PORT=9000 MSGXC_DATA_DIR=/srv/msgxc msgxc serve",
            "MSGXC_CASSANDRA=10.0.0.1 msgxc serve --processes",
        ),
    ),
    (api, examples("MSGXC_NATS_URL=nats://10.0.0.1:4222 MSGXC_HTTP_HOST=0.0.0.0 msgxc api")),
    (
        project,
        examples("MSGXC_NATS_URL=nats://10.0.0.1:4222 MSGXC_CASSANDRA=10.0.0.2,10.0.0.3 msgxc project"),
    ),
    (dispatch, examples("MSGXC_NATS_URL=nats://10.0.0.1:4222 msgxc dispatch")),
    (resolve, examples("MSGXC_NATS_URL=nats://10.0.0.1:4222 msgxc resolve")),
    (gateway, examples("MSGXC_NATS_URL=nats://10.0.0.1:4222 msgxc gateway apns", "msgxc gateway email")),
)
"""With the examples of each, in the order in which the help lists them."""
