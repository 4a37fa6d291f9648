"""What `msgxc serve` prints: lines that work where they are pasted, and none that would not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.serve.greeting import greeting, program
from cli.serve.webserver import address, listening_socket
from infra.settings import load
from tests.fixtures.sessions import session_of

WHERE = "http://127.0.0.1:8000"


def text_of(folder: Path, *, has_demo: bool = True, **settings: str) -> str:
    session = session_of(folder, **settings)
    return "\n".join(greeting(session, WHERE, channels="sms", has_sandbox=False, has_demo=has_demo))


def test_the_line_names_the_data_wherever_it_is_pasted(tmp_path: Path) -> None:
    """And where the keys are, if they are elsewhere; both quoted for a shell."""
    text = text_of(tmp_path / "a b", JWT_KEYS=str(tmp_path))
    assert f"$(MSGXC_DATA_DIR='{tmp_path}/a b' MSGXC_JWT_KEYS={tmp_path} " in text
    assert " token --uid demo)" in text


def test_without_a_demo_thread_there_is_nothing_to_try(tmp_path: Path) -> None:
    """Only where everything is."""
    text = text_of(tmp_path, has_demo=False)
    assert f"MSGXC serves on {WHERE}" in text
    assert "curl" not in text
    assert "demo" not in text.replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ("/opt/my programs/msgxc", "'/opt/my programs/msgxc'"),
        ("/opt/msgxc/cli/__main__.py", f"{sys.executable} -m cli"),
        ("bin/msgxc", str(Path.cwd() / "bin/msgxc")),
        ("msgxc", "msgxc"),
    ],
)
def test_the_program_is_called_from_anywhere(called: str, shown: str) -> None:
    """Whatever the folder, and with a space in its path."""
    assert program(called) == shown


def test_an_ipv6_address_is_one_that_can_be_called() -> None:
    """In brackets, as URLs want it."""
    http = load({"MSGXC_HTTP_HOST": "::1", "MSGXC_HTTP_PORT": "0"}).http
    with listening_socket(http) as bound:
        assert address(bound) == f"http://[::1]:{bound.getsockname()[1]}"
