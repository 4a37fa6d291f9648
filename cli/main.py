"""The `msgxc` command: what there is to call, and how a failure is told.

Owns the list of commands and the exit codes. What a command needs is imported when it runs, so that `--help` and
short commands answer at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli import apps, archive, backups, doctor, events, keys, projections, running, schema, tokens
from cli.console import FAILURE

app = typer.Typer(
    name="msgxc",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="The MSGXC messaging exchange: every fact an event, every channel one publish away.",
    epilog="Settings are MSGXC_ variables, from the environment or ./.env; .env.example explains each.",
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


for command in (
    running.serve,
    running.api,
    running.project,
    running.dispatch,
    running.resolve,
    running.gateway,
):
    app.command()(command)
app.command(epilog=tokens.EXAMPLES)(tokens.token)
app.command(epilog=backups.BACKUP_EXAMPLES)(backups.backup)
app.command(epilog=backups.RESTORE_EXAMPLES)(backups.restore)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(events.app, name="events")
app.add_typer(archive.app, name="shops")
app.add_typer(projections.app, name="projections")
app.add_typer(schema.app, name="schema")
app.add_typer(keys.app, name="keys")
app.add_typer(apps.app, name="apps")


def main() -> None:
    """Run the command line. Expected failures are one line on standard error and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has left, as `| head` does.
        sys.stderr.close()
        sys.exit(FAILURE)
    except Exception as error:
        from cli.failures import told

        line = told(error)
        if line is None:
            raise
        typer.echo(f"msgxc: {line}", err=True)
        sys.exit(FAILURE)
