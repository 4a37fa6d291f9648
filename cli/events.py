"""`msgxc events`: the log for people and programs; tail, show, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.console import note, print_json
from cli.examples import examples
from cli.session import Session, begun_session, run_async
from domain.context import DEFAULT_REALM

if TYPE_CHECKING:
    from cli.reading.logreading import Fact
    from cli.reading.stories import Story

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the log.")

OF_A_REALM = ("thread:", "contact:", "client:")
"""Names that are one realm's; any other is the whole exchange's."""

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Personal = Annotated[
    bool, typer.Option("--show-personal", help="Show addresses, contents and the like; hidden otherwise.")
]
Topics = Annotated[
    list[str] | None,
    typer.Option(
        "--topic", metavar="TOPIC", help="Only this topic, or all of a kind (message); may be repeated."
    ),
]


class Stream(StrEnum):
    EVENTS = "EVENTS"
    DELIVERY = "DELIVERY"


@dataclass(frozen=True, slots=True)
class Form:
    """whole: with all fields of a fact; else it is a line."""

    as_json: bool
    personal: bool
    whole: bool


class Format(StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"
    CLOUDEVENTS = "cloudevents"


@app.command(
    epilog=examples("msgxc events tail -f", "msgxc events tail --topic message --lines 5 --json | jq .data")
)
def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=10_000, help="How many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended.")] = False,
    topic: Topics = None,
    stream: Annotated[Stream | None, typer.Option(help="Only this stream.")] = None,
    show_personal: Personal = False,
    as_json: Json = False,
) -> None:
    """The newest facts, oldest first.

    Of two streams: EVENTS, and DELIVERY, which says what became of messages.
    """
    from cli.reading.topics import assert_topics

    assert_topics(topic or (), [str(stream)] if stream else [each.value for each in Stream])
    run_async(_tail(begun_session(), lines, follow, topic or [], stream, _printer(as_json, show_personal)))


@app.command(
    epilog=examples(
        "msgxc events show thread:demo",
        "msgxc events show 5c0c9a6e3f7a8d1e9b2a4c6d8e0f1a2b",
        "msgxc events show client:my-app/6f1c2d3e-8f4a-4b1c-9d2e-3f4a5b6c7d8e",
        "msgxc events show 5c0c9a6e3f7a8d1e9b2a4c6d8e0f1a2b --lines",
        "msgxc events show EVENTS:12 --show-personal",
    )
)
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An id, thread:TID, contact:UID, client:APP/ID, merchant:ID, or a fact's EVENTS:POSITION, "
            "DELIVERY:POSITION or SIGNALS:POSITION.",
        ),
    ],
    realm: Annotated[
        str, typer.Option(parser=options.realm, metavar="<str>", help="Whose thread, contact or client.")
    ] = DEFAULT_REALM,
    lines: Annotated[bool, typer.Option("--lines", help="A line for each fact, not all its fields.")] = False,
    show_personal: Personal = False,
    as_json: Json = False,
) -> None:
    """Everything the log says of one id, in the order of time.

    Of a message also its deliveries, of a client also the signals that are kept and the refresh tokens, of a contact
    also those that it has without an app; of a merchant the calls without an app.

    client:APP/ID is a device: all clients that it was, there and in the apps that it came from and went on to, each
    with a number. They are looked for in all clients' events.
    """
    form = Form(as_json=as_json, personal=show_personal, whole=not lines)
    run_async(_show(begun_session(), what, realm, form))


@app.command(
    epilog=examples(
        "msgxc events export > events.jsonl",
        "msgxc events export --format parquet --out events/   # again later: goes on where it stopped",
        "msgxc events export --format cloudevents --topic message.accepted.v2 --after 1000",
    )
)
def export(
    after: Annotated[int, typer.Option(min=0, help="Start behind this position.")] = 0,
    until: Annotated[
        int | None, typer.Option(min=1, help="Stop at this position; else at the end of now.")
    ] = None,
    topic: Topics = None,
    stream: Annotated[Stream, typer.Option(help="Which stream.")] = Stream.EVENTS,
    form: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.JSONL,
    out: Annotated[
        Path | None, typer.Option(help="A file (parquet: a folder) to write, or to go on with.")
    ] = None,
    show_personal: Personal = False,
) -> None:
    """Write facts out.

    With --out an export that was interrupted, or a later one, goes on where the last stopped.
    """
    from cli.reading.export import Wanted, export_facts
    from cli.reading.topics import assert_topics

    assert_topics(topic or (), [str(stream)])
    if until is not None and after >= until:
        raise typer.BadParameter(f"there is nothing behind {after} up to {until}", param_hint="--until")
    wanted = Wanted(str(stream), after, until, tuple(topic or ()), show_personal)
    run_async(export_facts(begun_session(), wanted, str(form), out))


async def _tail(
    session: Session,
    lines: int,
    follow: bool,
    topics: list[str],
    stream: Stream | None,
    show: Callable[[Fact], None],
) -> None:
    from cli.reading.logreading import STREAMS, follow_all, last_facts, matching, moment, reading

    streams = (str(stream),) if stream else STREAMS
    matches = matching(topics)
    async with reading(session) as log:
        starts = {name: await log.end(name) for name in streams}
        found = [fact for name in streams for fact in await last_facts(log, name, lines, matches)]
        if topics and not found and not follow:
            note(f"nothing of {', '.join(topics)} yet")
        for fact in sorted(found, key=moment)[-lines:] if lines else ():
            show(fact)
        if follow:
            await follow_all(log, starts, show, matches)


async def _show(session: Session, what: str, realm: str, form: Form) -> None:
    from cli.console import fail
    from cli.reading.logreading import reading
    from cli.reading.stories import facts_of, heading, story
    from domain.ids import Ids

    async with reading(session) as log:
        told = await story(log, Ids(session.keyring.id_key), what, realm)
        for said in told.notes:
            note(f"msgxc: {said}")
        for said in heading(told, what):
            typer.echo(said, err=form.as_json)
        show, is_empty = _teller(told, form), True
        async for fact in facts_of(log, told):
            show(fact)
            is_empty = False
        if is_empty:
            where = f" in realm {realm}" if what.startswith(OF_A_REALM) else ""
            fail(f"the log says nothing of {what}{where}")


def _printer(as_json: bool, personal: bool) -> Callable[[Fact], None]:
    from cli.reading.facts import line, shown

    def show(fact: Fact) -> None:
        told = shown(fact, personal=personal)
        if as_json:
            print_json(told)
        else:
            typer.echo(line(told))

    return show


def _teller(told: Story, form: Form) -> Callable[[Fact], None]:
    """As `_printer`, with the client that a fact of a device's story is about."""
    from cli.reading.facts import block, line, shown

    width = len(str(len(told.clients))) if len(told.clients) > 1 else 0

    def show(fact: Fact) -> None:
        client, said = told.client_of(fact), shown(fact, personal=form.personal)
        if form.as_json:
            print_json(said if client is None else {**said, "device": client.named})
            return
        text = block(said) if form.whole else line(said)
        typer.echo(f"{client.number:>{width}}  {text}" if width and client is not None else text)

    return show
