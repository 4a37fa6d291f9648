"""`msgxc keys`: the exchange's own keys by their ids; list, rotate, erase. No key is ever printed."""

from __future__ import annotations

import contextlib
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cli import options
from cli.console import Failure, confirm, note, print_rows, progress
from cli.examples import examples
from cli.session import Session, begun_session, now, open_session, run_async
from cli.wiring.signing import describe_signing, rotate_signing
from domain.context import DEFAULT_REALM, Context
from infra.secrets import add_signing_key, describe, rotate_master_key

if TYPE_CHECKING:
    from infra.log.log import JetStreamLog

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after the keys.")


NAME = "msgxc keys"

ERASED_S_MAX = 10.0
"""The erasure process takes well under a second where it runs."""


class Rotated(StrEnum):
    JWT = "jwt"
    SDK = "sdk"
    MASTER = "master"


@app.command(name="list", epilog=examples("msgxc keys list --json"))
def list_(as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False) -> None:
    """All keys, by their ids.

    With where each is from, and whether only its owner can read it.
    """
    session = begun_session()
    rows = describe(session.folder, session.keyring, session.settings.keys)
    rows += run_async(describe_signing(session))
    print_rows([msgspec.to_builtins(row) for row in rows], as_json=as_json)


@app.command(epilog=examples("MSGXC_DATA_DIR=/srv/msgxc msgxc keys make"))
def make() -> None:
    """Make the keys that are missing, and change none.

    msgxc serve does it by itself. Where roles run apart, do it once and give every role the same folder or keys.
    """
    session = open_session()
    note(f"all keys are in {session.folder.keys}")


@app.command(epilog=examples("msgxc keys rotate jwt", "msgxc keys rotate sdk", "msgxc keys rotate master"))
def rotate(which: Annotated[Rotated, typer.Argument(help="Which key.")]) -> None:
    """Make a new key and use it from now on.

    jwt: new tokens carry it within a second; tokens of the old ones stay good until their file in keys/jwt is removed.

    sdk: the tokens of devices, likewise, with keys/sdk (or the secret in Google Secret Manager: another version of it).

    master: all stored keys are wrapped anew; msgxc serve must be stopped meanwhile. Where MSGXC_MASTER_KEY is set,
    start every process with former,new, then every process with new,former, then run this. The id key never rotates.
    """
    session = begun_session()
    if which is Rotated.JWT:
        if session.settings.keys.jwt is not None:
            raise Failure("MSGXC_JWT_KEYS is set: rotate the keys where they are made")
        note(f"tokens are signed by {add_signing_key(session.keyring.jwt, now=now())} from now on")
        return
    if which is Rotated.SDK:
        note(run_async(rotate_signing(session)))
        return
    run_async(_rotate_master(session))


@app.command(epilog=examples("msgxc keys erase --uid ann --yes"))
def erase(
    uid: Annotated[str, typer.Option(parser=options.uid, metavar="<str>", help="Whose key.")],
    realm: Annotated[
        str, typer.Option(parser=options.realm, metavar="<str>", help="Of which tenant.")
    ] = DEFAULT_REALM,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a contact for good.

    The key is destroyed, so nothing sealed about them can ever be read again.
    """
    if not yes:
        confirm(f"Destroy the key of {uid} in realm {realm}? This cannot be undone")
    run_async(_erase(begun_session(), uid, realm))


async def _rotate_master(session: Session) -> None:
    from cli.bootstrap import opened_log
    from cli.wiring.endpoints import configured_endpoint, embedded_server, local_endpoint
    from infra.nats.wire.connection import connected

    async with contextlib.AsyncExitStack() as opened:
        endpoint = configured_endpoint(session, name=NAME)
        if endpoint is None:
            # Whoever runs with the former key alone could not read what the new one wraps.
            opened.enter_context(session.folder.held())
            endpoint = local_endpoint(await opened.enter_async_context(embedded_server(session)), name=NAME)
        async with connected(endpoint):
            """Where nobody answers nothing is wrapped anew, so the master key stays, too."""
        if session.settings.keys.master is None:
            note(f"the master key is {rotate_master_key(session.folder)} from now on")
        log = await opened.enter_async_context(opened_log(open_session(), endpoint))
        with progress("wrapping keys", unit="keys") as advance:
            advance(0, await _last_position(log))
            count = await log.keys.rewrap(on_position=advance)
        note(f"{count:,} keys wrapped anew")


async def _last_position(log: JetStreamLog) -> int | None:
    from infra.nats.streams import KEYS_STREAM

    info = await log.js.info(KEYS_STREAM)
    return info.state.last_seq if info is not None else None


async def _erase(session: Session, uid: str, realm: str) -> None:
    import asyncio

    from cli.bootstrap import open_exchange
    from cli.wiring.endpoints import any_endpoint
    from commands.contacts import EraseContact

    async with (
        any_endpoint(session, name=NAME) as endpoint,
        open_exchange(session, endpoint, {}, projecting=False) as exchange,
    ):
        await exchange.bus.execute(EraseContact(uid=uid), Context(realm, "msgxc keys erase"))
        name = f"contact.{exchange.ids.contact(realm, uid).hex}"
        deadline_s = time.monotonic() + ERASED_S_MAX
        while await exchange.log.keys.key(name, create=False) is not None:
            if time.monotonic() > deadline_s:
                note(f"{uid} is erased; the key is destroyed as soon as msgxc serve (or dispatch) runs")
                return
            await asyncio.sleep(0.1)
    note(f"{uid} is erased and the key destroyed")
