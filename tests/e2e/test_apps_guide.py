"""The guide to apps tells the truth: its commands are run as they stand there, against `msgxc serve`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cli.apps
from tests.fixtures.served import BLOCK, ROOT, Served, served

GUIDE = ROOT / "docs" / "guides" / "apps.md"
SCRIPT_S_MAX = 60


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("apps-guide")) as running:
        path = "/api/v2/apps/DEMO-APP"
        running.until(lambda: running.call("GET", path).status_code == 200, SCRIPT_S_MAX)
        yield running


def test_the_guides_commands_work_as_written(exchange: Served, tmp_path: Path) -> None:
    """The demo's app is there; the command line and REST register, change, show and retire."""
    shell, rest = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    said = exchange.run(shell, tmp_path)
    assert "DEMO-APP" in said
    shown = json.loads((tmp_path / "shop-app.json").read_bytes())
    assert (shown["name"], shown["default_contact_field"]) == ("Our shop", 3)
    assert shown["geofences"]["groups"][0]["geofences"][0]["triggers"][0]["type"] == "ENTER"
    said = exchange.run(rest, tmp_path)
    assert '"name":"Our new shop"' in said
    assert [each["code"] for each in exchange.call("GET", "/api/v2/apps").json()["items"]] == [
        "DEMO-APP",
        "SHOP-APP",
    ]
    ended = exchange.call("GET", "/api/v2/apps/shop.example.org").json()
    assert ended["retired"] is not None


async def test_two_who_change_an_app_at_once_leave_each_others_settings(
    exchange: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`change` takes some of the settings, and leaves the others as they are then."""
    for name, value in exchange.environment().items():
        monkeypatch.setenv(name, value)
    for number in range(1, 9):
        changes: tuple[dict[str, Any], ...] = ({"name": f"Demo {number}"}, {"default_contact_field": number})
        await asyncio.gather(*(cli.apps._change("DEMO-APP", "main", given) for given in changes))
        async with cli.apps._exchange() as opened:
            settings = (await cli.apps._app(opened, "DEMO-APP", "main")).settings
        assert (settings.name, settings.default_contact_field) == (f"Demo {number}", number)


def msgxc(exchange: Served, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "apps", *arguments],
        cwd=ROOT,
        env={**os.environ, **exchange.environment()},
        input=given,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=SCRIPT_S_MAX,
        check=False,
    )


def test_an_app_that_no_device_will_see_is_said_to_be_none(
    exchange: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where apps are another service's, what is registered here is not what devices' calls look at."""
    for line in ("register UNSEEN", "change UNSEEN --name Shop", "retire UNSEEN --yes"):
        monkeypatch.setenv("MSGXC_APPS_URL", "http://127.0.0.1:9")
        done = msgxc(exchange, *line.split())
        assert (done.returncode, "go by the app service" in done.stderr) == (0, True), done.stderr
        monkeypatch.delenv("MSGXC_APPS_URL")
        assert "app service" not in msgxc(exchange, *line.split()).stderr


@pytest.mark.parametrize(
    ("arguments", "given", "says"),
    [
        (["show", "NONE"], "", "no app has the code NONE in realm main"),
        (["register", "DEMO-APP", "--realm", "other"], "", "belongs to another realm"),
        (["register", "X", "--kind", "toaster"], "", "kind: expected one of app, web-domain"),
        (
            ["change", "DEMO-APP", "--settings", "-"],
            '{"colour": "red"}',
            "colour: there is no such field",
        ),
        (
            ["change", "DEMO-APP", "--settings", "-"],
            '{"geofences": {"groups": [{"id": "g", "waitInterval": 1, "geofences": [], "fences": []}]}}',
            "geofences.groups[0].fences: there is no such field: did you mean geofences?",
        ),
        (
            ["change", "DEMO-APP", "--settings", "-"],
            '{"geofences": {"groups": [{}]}}',
            "msgxc: geofences.groups[0].id is missing",
        ),
        (
            ["change", "DEMO-APP", "--settings", "-"],
            '{"geofences": {"refreshRadiusRatio": 2}}',
            "geofences.refreshRadiusRatio: over 0 and at most 1",
        ),
        (["change", "DEMO-APP", "--settings", "-"], '{"name": "Caf\udce9"}', "not JSON in UTF-8"),
        (["change", "DEMO-APP", "--settings", "-"], '{"name":' * 10_000, "of a sensible depth"),
    ],
)
def test_what_cannot_be_is_one_line(exchange: Served, arguments: list[str], given: str, says: str) -> None:
    """Exit code 1, what to mend on standard error, and nothing changed. A lone surrogate is a byte that is no UTF-8."""
    before = exchange.call("GET", "/api/v2/apps/DEMO-APP").json()
    done = msgxc(exchange, *arguments, given=given)
    assert says in done.stderr
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
    assert exchange.call("GET", "/api/v2/apps/DEMO-APP").json() == before


def test_what_one_asks_of_an_app_is_counted(exchange: Served) -> None:
    """The hit rate is on /metrics under the name that the guide gives."""
    exchange.call("POST", "/api/v2/apps/DEMO-APP/refresh")
    text = exchange.http.get("/metrics").text
    looked = re.findall(r'^msgxc_app_lookups_total\{level="(\w+)"\} ', text, re.MULTILINE)
    assert looked == ["memory", "shared", "source", "outdated"]
    assert "msgxc_app_lookups_total" in GUIDE.read_text(encoding="utf-8")


def test_an_app_is_changed_while_nothing_serves(exchange: Served) -> None:
    """The next start knows it, from the log; nothing that was remembered stands in the way."""
    exchange.stop()
    done = msgxc(exchange, "change", "DEMO-APP", "--name", "Changed in the dark")
    assert done.returncode == 0, done.stderr
    exchange.start()

    def shown() -> bool:
        return bool(exchange.call("GET", "/api/v2/apps/DEMO-APP").json()["name"] == "Changed in the dark")

    exchange.until(shown, 10.0)
