"""`msgxc doctor`: looks at all an exchange stands on, one line each, and says what to do where it is not well."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from cli.console import FAILURE, print_json
from cli.examples import examples
from cli.session import is_begun, open_session, read_settings, run_async
from cli.upkeep.findings import Finding
from infra.settings import Settings

EXAMPLES = examples(
    "msgxc doctor", "msgxc doctor --mend", "msgxc doctor --json | jq '.[] | select(.state != \"ok\")'"
)


def doctor(
    mend: Annotated[bool, typer.Option("--mend", help="Write what is missing anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
) -> None:
    """Look at everything, and say what to do.

    Settings, keys, disk, log, read models, work and schedules. Exit code 1 when something must be done.
    """
    from cli.upkeep.checkup import checkup

    settings = read_settings()
    findings = run_async(checkup(open_session(), mend=mend)) if is_begun(settings) else [_nothing(settings)]
    if as_json:
        print_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        for finding in findings:
            line = f"{finding.state:<5} {finding.about:<12} {finding.detail}"
            typer.echo(f"{line}\n      {'':<12} -> {finding.advice}" if finding.advice else line)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(FAILURE)


def _nothing(settings: Settings) -> Finding:
    """Nothing is made here: keys made by a doctor could stand in the way of those that belong to the log."""
    advice = "start msgxc serve, or set MSGXC_DATA_DIR to where the exchange is"
    return Finding("fail", "data", f"there is no exchange in {settings.data_dir}: it has no keys", advice)
