"""What `msgxc serve` says once it is ready: where everything is, and a line to try it with.

The line works in any terminal: it names the program and the data as they are found from anywhere, quoted for a shell.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.serve.demo import TID, UID
from cli.session import Session


def greeting(
    session: Session, where: str, *, channels: str, has_sandbox: bool, has_demo: bool
) -> Sequence[str]:
    """The first thing a newcomer reads. where: our URL. has_demo: whether there is a demo thread to publish to."""
    lines = [
        f"MSGXC serves on {where}",
        f"  data      {session.folder.path}",
        f"  channels  {channels}",
        f"  docs      {where}/docs",
    ]
    if has_sandbox:
        lines.append(f"  sandbox   {where}/sandbox/  shows what arrives; sends nothing to anybody")
    return [*lines, "", *(_demo(session, where) if has_demo else ()), "Ctrl-C stops all of it."]


def _demo(session: Session, where: str) -> Sequence[str]:
    return (
        "Publish to the demo thread from another terminal:",
        "",
        f"  curl {shlex.quote(where + '/api/v2/publish')} \\",
        f'    -H "Authorization: Bearer $({_needed(session)} {program(sys.argv[0])} token --uid {UID})" \\',
        "    -H 'Content-Type: application/json' \\",
        f'    -d \'{{"tid": "{TID}", "msg": "Hello from MSGXC"}}\'',
        "",
    )


def _needed(session: Session) -> str:
    """What another terminal may not have, or have otherwise: where the keys are that sign a token."""
    found = {"MSGXC_DATA_DIR": session.folder.path}
    if session.settings.keys.jwt is not None:
        found["MSGXC_JWT_KEYS"] = session.settings.keys.jwt
    return " ".join(f"{name}={shlex.quote(str(path))}" for name, path in found.items())


def program(called: str) -> str:
    """How a shell calls this program from anywhere. called: sys.argv[0]."""
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m {shlex.quote(Path(called).parent.name)}"
    return shlex.quote(str(Path(called).absolute())) if "/" in called else "msgxc"
