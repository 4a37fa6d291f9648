"""What a command says: data on standard output, everything else on standard error.

Owns the two forms of data (a table for people, JSON for programs), the progress line, and how a failure reads.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import msgspec
import typer

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes: something failed; the command line or a setting is wrong; Ctrl-C."""

LOGGED_EVERY_S = 10.0
"""How often long work tells a file of logs how far it is."""

Row = Mapping[str, Any]


class Failure(Exception):
    """A command could not do what it was asked; one line that says what to do."""


class Advance(Protocol):
    def __call__(self, done: int, total: int | None = None) -> None:
        """How far it is, in steps; total when it becomes known or changes."""
        ...


def fail(message: str, *, code: int = FAILURE) -> NoReturn:
    """End the command with one line on standard error."""
    typer.echo(f"msgxc: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


def note(message: str) -> None:
    """Something for the person at the terminal, out of the data's way."""
    typer.echo(message, err=True)


def confirm(question: str) -> None:
    """Go on after a yes; else end the command, with what to do where nobody can be asked."""
    typer.echo(f"{question} [y/N]: ", err=True, nl=False)
    answer = sys.stdin.readline()
    if answer.strip().lower() in {"y", "yes"}:
        return
    if answer:
        fail("nothing was done")
    typer.echo(err=True)
    fail("nobody answers, so nothing was done: add --yes where nobody can be asked")


def print_json(value: Any) -> None:
    """One line of JSON, which is UTF-8 whatever the terminal's encoding is (RFC 8259, section 8.1)."""
    typer.echo(msgspec.json.encode(value, enc_hook=str))


def print_rows(rows: Sequence[Row], *, as_json: bool, empty: str = "nothing") -> None:
    """A table with the first row's fields as columns, or a JSON array."""
    if as_json:
        print_json([dict(row) for row in rows])
    elif not rows:
        note(empty)
    else:
        _print_table(rows)


def _print_table(rows: Sequence[Row]) -> None:
    columns = list(rows[0])
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    last = len(columns) - 1
    for line in ([column.upper().replace("_", " ") for column in columns], *cells):
        padded = (text if i == last else text.ljust(widths[i]) for i, text in enumerate(line))
        typer.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


@contextlib.contextmanager
def progress(what: str, *, unit: str = "events") -> Iterator[Advance]:
    """A line on standard error with count, rate and time left; in a file of logs a line now and then."""
    if not sys.stderr.isatty():
        yield logged(what, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, rate="")

        def advance(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance


def logged(what: str, unit: str, now_s: Callable[[], float] = time.monotonic) -> Advance:
    """Progress where there is no terminal: a line each LOGGED_EVERY_S, none for short work."""
    began_s = said_s = now_s()

    def advance(done: int, total: int | None = None) -> None:
        nonlocal said_s
        at_s = now_s()
        if at_s - said_s < LOGGED_EVERY_S:
            return
        said_s = at_s
        speed = done / (at_s - began_s)
        left = f" of {total:,}, {(total - done) / speed:,.0f} s left" if total and speed else ""
        note(f"{what}: {done:,} {unit}{left}, {speed:,.0f}/s")

    return advance
