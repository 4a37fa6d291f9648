"""`msgxc projections`: the read models; list, lag, rebuild, verify, roll back."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.console import print_json, print_rows
from cli.examples import examples
from cli.session import begun_session, run_async

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after the read models.")

Json = Annotated[bool, typer.Option("--json", help="JSON.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A projection; `msgxc projections list` names them.")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Projections; all if left out.")]


@app.command(name="list", epilog=examples("msgxc projections list --json"))
def list_(as_json: Json = False) -> None:
    """Each projection's generations, and what is live."""
    from cli.upkeep.rebuilding import generations

    print_rows(run_async(generations(begun_session())), as_json=as_json)


@app.command(epilog=examples("msgxc projections lag"))
def lag(as_json: Json = False) -> None:
    """How many facts each read model is behind the log."""
    from cli.upkeep.rebuilding import lags

    print_rows(run_async(lags(begun_session())), as_json=as_json)


@app.command(epilog=examples("msgxc projections rebuild deliveries", "msgxc projections rebuild"))
def rebuild(names: Names = None) -> None:
    """Build read models anew, and switch to them.

    Beside the live ones, and checked before the switch; reads and writes go on.

    A rebuild that was interrupted, or killed, goes on where it stopped.
    """
    from cli.upkeep.rebuilding import rebuild as run

    run_async(run(begun_session(), names or []))


@app.command(epilog=examples("msgxc projections verify", "msgxc projections verify contacts --json"))
def verify(names: Names = None, as_json: Json = False) -> None:
    """Compare read models with the log, row by row.

    Exit code 1 where they differ.

    Each is built anew up to the position of the live one. Projecting pauses while the rows are compared.
    """
    from cli.upkeep.rebuilding import verify as run

    verdicts = run_async(run(begun_session(), names or []))
    rows = [
        {
            "projection": verdict.projection,
            "rows": verdict.rows,
            "positions": verdict.positions if as_json else _positions(verdict.positions),
            "differences": [d.table for d in verdict.differences]
            if as_json
            else _tables(verdict.differences),
        }
        for verdict in verdicts
    ]
    print_json(rows) if as_json else print_rows(rows, as_json=False)
    if any(verdict.differences for verdict in verdicts):
        raise typer.Exit(1)


@app.command(epilog=examples("msgxc projections rollback deliveries"))
def rollback(name: Name) -> None:
    """Go back to the former generation.

    It catches up with the log before it is switched in.
    """
    from cli.upkeep.rebuilding import rollback as run

    run_async(run(begun_session(), name))


def _positions(positions: dict[str, int]) -> str:
    return " ".join(f"{stream}:{position}" for stream, position in positions.items())


def _tables(differences: tuple[object, ...]) -> str:
    return "; ".join(str(difference) for difference in differences) or "none"
