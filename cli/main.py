"""The `msgxc` command: what there is to call, and how a failure is told.

Owns the list of commands and the exit codes. What a command needs is imported when it runs, so that `--help` and
short commands answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cli import apps, archive, backups, doctor, events, keys, projections, running, schema, streams, tokens
from cli.console import FAILURE, INTERRUPTED, USAGE
from cli.examples import examples

app = typer.Typer(
    name="msgxc",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="The MSGXC messaging exchange: every fact an event, every channel one publish away.",
    epilog=examples(
        "msgxc serve",
        "msgxc token --uid ann --role admin",
        "msgxc events tail --follow",
        "msgxc doctor",
        before="Settings are MSGXC_ variables, from the environment or ./.env; .env.example explains each.",
    ),
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"msgxc {version('msgxc')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before any command."""


for command, epilog in running.COMMANDS:
    app.command(epilog=epilog)(command)
app.command(epilog=tokens.EXAMPLES)(tokens.token)
app.command(epilog=backups.BACKUP_EXAMPLES)(backups.backup)
app.command(epilog=backups.RESTORE_EXAMPLES)(backups.restore)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
for group, name, epilog in (
    (events.app, "events", examples("msgxc events tail -f", "msgxc events show MID --lines")),
    (archive.app, "shops", archive.EXAMPLES),
    (
        projections.app,
        "projections",
        examples("msgxc projections lag", "msgxc projections rebuild deliveries"),
    ),
    (schema.app, "schema", examples("msgxc schema check")),
    (keys.app, "keys", examples("msgxc keys list", "msgxc keys rotate jwt")),
    (apps.app, "apps", examples("msgxc apps list", "msgxc apps show DEMO-APP")),
):
    app.add_typer(group, name=name, epilog=epilog)


def main() -> None:
    """Run the command line. Expected failures are one line on standard error and exit code 1."""
    streams.prepare()
    try:
        _assert_readable(sys.argv[1:])
        app(prog_name="msgxc")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        from cli.failures import is_unheard, told

        line = told(error)
        if line is None:
            raise
        streams.give_up()
        if not is_unheard(error):
            typer.echo(f"msgxc: {line}", err=True)
        sys.exit(FAILURE)


def _assert_readable(arguments: Sequence[str]) -> None:
    """Bytes that are no text in the terminal's encoding name nothing here: neither a thread nor a contact."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            typer.echo(f"msgxc: {argument!r} is no text in the encoding of this terminal", err=True)
            sys.exit(USAGE)
