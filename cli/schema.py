"""`msgxc schema`: the documents in schema/ (event catalogue, AsyncAPI, OpenAPI, CQL, SQLite DDL) and the code they come
from. They are generated, checked in, and never edited by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from cli.console import FAILURE, Failure, note, print_json
from cli.examples import examples
from cli.session import read_settings, run_async

if TYPE_CHECKING:
    from projections.port import Table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check and write the schemas.")

ROOT = Path(__file__).parents[1] / "schema"
OPENAPI = "openapi.json"
EVENTS = Path(__file__).parents[1] / "docs" / "events.md"
"""The event catalogue for people; written and checked with the documents where they belong."""

Folder = Annotated[Path, typer.Option(help="Where the documents are.")]


@app.command(epilog=examples("msgxc schema check"))
def check(
    folder: Folder = ROOT, as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False
) -> None:
    """Whether the documents are what the code says.

    Exit code 1 and the differing files if not.
    """
    if not folder.is_dir():
        raise Failure(f"there is no folder {folder}: msgxc schema apply makes it")
    wrong = drift(folder, _events_of(folder))
    if as_json:
        print_json(wrong)
    elif wrong:
        for sentence in wrong:
            typer.echo(sentence)
    else:
        note(f"all is well: {folder} is as the code says")
    if wrong:
        note("msgxc schema apply writes them anew")
        raise typer.Exit(FAILURE)


@app.command(epilog=examples("msgxc schema apply", "MSGXC_CASSANDRA=10.0.0.1 msgxc schema apply"))
def apply(folder: Folder = ROOT) -> None:
    """Write the documents anew; make missing tables.

    The tables where a read store is reached.

    Nothing that exists in a store is ever changed: a table that has changed is built anew by a rebuild.
    """
    write(folder, _events_of(folder))
    note(f"{folder} is as the code says")
    if read_settings().cassandra.hosts:
        run_async(_make_tables())


def _events_of(folder: Path) -> Path | None:
    return EVENTS if folder == ROOT else None


def drift(folder: Path, events: Path | None = None) -> list[str]:
    """One sentence a file. events: where the event catalogue for people is."""
    from infra.eventstore import schemas
    from infra.readstore import ddl

    wrong = [f"{name} is not what the types give" for name in schemas.drift(folder)]
    wrong += ddl.drift(folder, _tables())
    openapi = folder / OPENAPI
    if not openapi.exists() or openapi.read_bytes() != _openapi():
        wrong.append(f"{OPENAPI} is not what the routes give")
    if events is not None and (not events.exists() or events.read_text("utf-8") != _events()):
        wrong.append(f"{events.name} is not what the types give")
    return wrong


def write(folder: Path, events: Path | None = None) -> None:
    from infra.eventstore import schemas
    from infra.readstore import ddl

    folder.mkdir(parents=True, exist_ok=True)
    schemas.write(folder)
    ddl.write(folder, _tables())
    (folder / OPENAPI).write_bytes(_openapi())
    if events is not None:
        events.write_text(_events(), "utf-8")


def _events() -> str:
    from infra.eventstore.event_catalogue import catalogue_text

    return catalogue_text()


def _tables() -> list[Table]:
    from projections.catalogue import ALL

    return [table for projection in ALL for table in projection.tables]


def _openapi() -> bytes:
    from importlib.metadata import version

    from api.about.openapi import document
    from api.ezout import table as shops
    from api.msgxc import socket, stream
    from api.table import ROUTES

    routes = (*ROUTES, stream.ROUTE_OF_STREAM, *shops.DESCRIBED)
    described = document(routes, version=version("msgxc"), sockets=(socket.ROUTE_OF_SOCKET, *shops.SOCKETS))
    text = msgspec.json.encode(described, order="deterministic")
    return msgspec.json.format(text, indent=2) + b"\n"


async def _make_tables() -> None:
    from cli.session import open_session
    from cli.wiring.stores import make_missing, open_store

    async with open_store(open_session()) as store:
        await make_missing(store)
    note("the read store has its tables")
