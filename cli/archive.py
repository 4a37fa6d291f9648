"""`msgxc shops`: a shop's archive for people and programs; tail, export."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from cli.examples import examples
from cli.session import begun_session, run_async

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at what tills have published.")

_SHOP = "7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f"

Shop = Annotated[UUID, typer.Option(help="The shop's id.")]
Action = Annotated[
    list[str] | None, typer.Option(help="Only updates of this action, such as ADD; may be repeated.")
]


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def _when(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is no time with a zone: write 2023-12-18T10:30:00Z")
    return found


EXAMPLES = examples(
    f"msgxc shops tail --shop {_SHOP} -f",
    f"msgxc shops export --shop {_SHOP} > shop.jsonl",
)
"""Of the group."""

_TIME = "2023-12-18T10:30:00Z"


@app.command(
    epilog=examples(
        f"msgxc shops tail --shop {_SHOP} -f",
        f"msgxc shops tail --shop {_SHOP} --action ADD --json | jq .data",
    )
)
def tail(
    shop: Shop,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=10_000, help="How many.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is published.")] = False,
    action: Action = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """The newest updates and messages of a shop.

    In the order of publishing.
    """
    from cli.reading.shopreading import Wanted, tail_shop

    wanted = Wanted(shop, tuple(action or ()))
    run_async(tail_shop(begun_session(), wanted, lines, follow=follow, as_json=as_json))


@app.command(
    epilog=examples(
        f"msgxc shops export --shop {_SHOP} > shop.jsonl",
        f"msgxc shops export --shop {_SHOP} --format parquet --out shop/   # again later: goes on where it stopped",
        f"msgxc shops export --shop {_SHOP} --format csv --after 2023-12-18T00:00:00Z --action ADD --out adds.csv",
    )
)
def export(
    shop: Shop,
    after: Annotated[
        datetime | None, typer.Option(parser=_when, metavar=_TIME, help="From this time of the till on.")
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(parser=_when, metavar=_TIME, help="Up to before this time of the till.")
    ] = None,
    action: Action = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.JSONL,
    out: Annotated[
        Path | None, typer.Option(help="A file (parquet: a folder) to write, or to go on with.")
    ] = None,
) -> None:
    """Write a shop's archive out, in the order of publishing.

    With --out an export that was interrupted, or a later one of the same kind, goes on where the last stopped.
    """
    from cli.reading.shopreading import Wanted, export_shop

    if after is not None and before is not None and after >= before:
        raise typer.BadParameter("there is no time from --after on up to before it", param_hint="--before")
    wanted = Wanted(shop, tuple(action or ()), after, before)
    run_async(export_shop(begun_session(), wanted, str(form), out))
