"""Where the log is: a NATS cluster by setting, the embedded server of this process, or that of a running exchange.

Owns `serving.json` (mode 0600), by which other commands find the exchange that serves from a data folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import msgspec

from cli.console import Failure
from cli.session import Session
from infra.configuration.datafolder import replace_private_file
from infra.nats.server import NatsServer, ServerConfig, running_server
from infra.nats.wire.connection import Endpoint


class Serving(msgspec.Struct, frozen=True):
    """What a running exchange says of itself. address: of its API."""

    pid: int
    address: str
    nats_url: str
    sandbox: dict[str, str]
    """Settings that point gateways at the sandbox, for roles in processes of their own."""


def announce(session: Session, serving: Serving) -> None:
    replace_private_file(session.folder.serving, msgspec.json.encode(serving))


def withdraw(session: Session) -> None:
    session.folder.serving.unlink(missing_ok=True)


def running(session: Session) -> Serving | None:
    """The exchange that serves from this folder now, if one does."""
    if session.folder.holder() is None:
        return None
    try:
        return msgspec.json.decode(session.folder.serving.read_bytes(), type=Serving)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


@contextlib.asynccontextmanager
async def embedded_server(session: Session) -> AsyncIterator[NatsServer]:
    """A nats-server of our own in the data folder, ended with us."""
    config = ServerConfig(folder=session.folder.nats, sync=session.settings.nats.sync)
    async with running_server(config) as server:
        yield server


def local_endpoint(server: NatsServer, *, name: str) -> Endpoint:
    return Endpoint(urls=server.url, token=server.token, name=name)


def configured_endpoint(session: Session, *, name: str) -> Endpoint | None:
    """The NATS server of the settings; None where it is embedded."""
    nats = session.settings.nats
    if nats.url is None:
        return None
    urls = nats.url.reveal()
    creds = str(nats.creds) if nats.creds else None
    # An authority of our own is for what speaks TLS; nats-py asks every server for it once it is given one.
    ca_file = session.settings.ca_file if urls.startswith("tls://") else None
    return Endpoint(urls=urls, creds_file=creds, ca_file=str(ca_file) if ca_file else None, name=name)


def remote_endpoint(session: Session, *, name: str) -> Endpoint | None:
    """The NATS server of the settings, or of the exchange that runs from this folder; None when there is neither."""
    configured = configured_endpoint(session, name=name)
    if configured is not None:
        return configured
    serving = running(session)
    if serving is None:
        return None
    return Endpoint(urls=serving.nats_url, token=_token(session), name=name)


@contextlib.asynccontextmanager
async def any_endpoint(session: Session, *, name: str) -> AsyncIterator[Endpoint]:
    """As `remote_endpoint`; where nothing runs, a server of our own for as long as this command takes."""
    found = remote_endpoint(session, name=name)
    if found is not None:
        yield found
        return
    if not (session.folder.nats / "jetstream").exists():
        raise Failure(
            f"there is no log in {session.folder.path} yet: start msgxc serve, or set MSGXC_NATS_URL"
        )
    with session.folder.held():
        async with embedded_server(session) as server:
            yield local_endpoint(server, name=name)


def needed_endpoint(session: Session, *, name: str) -> Endpoint:
    """As `remote_endpoint`, for a role that makes no sense without a log that others use too."""
    found = remote_endpoint(session, name=name)
    if found is None:
        raise Failure(
            f"nothing serves from {session.folder.path}: set MSGXC_NATS_URL, or start msgxc serve, which runs all roles"
        )
    return found


def _token(session: Session) -> str:
    return (session.folder.nats / "token").read_text(encoding="utf-8").strip()
