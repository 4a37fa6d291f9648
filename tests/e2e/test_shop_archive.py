"""`msgxc shops`: the archive of a shop for people and programs, beside a running exchange."""

from __future__ import annotations

import csv
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyarrow import parquet

from tests.fixtures.exchange import RunningExchange
from tests.fixtures.tills import update

LINE_S_MAX = 20.0
REAL = {"create_time": "2023-12-18 10:30:00+00:00"}


@pytest.fixture
def shop() -> str:
    return str(uuid4())


def publish(exchange: RunningExchange, shop: str, number: int, **changes: Any) -> None:
    body = update(shop_id=shop, product_id=number, **changes)
    with exchange.client() as client:
        answer = client.post(f"/publish/{shop}", json=body)
    assert answer.status_code == 200, answer.text


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_is_the_apis_and_goes_on_where_it_stopped(
    served: RunningExchange, shop: str, tmp_path: Path
) -> None:
    """Two exports into one file hold every message once, as the API exports them; another shop's are not there."""
    out = tmp_path / "shop.jsonl"
    publish(served, shop, 1)
    publish(served, str(uuid4()), 99)
    served.command("shops", "export", "--shop", shop, "--out", str(out))
    for number in (2, 3):
        publish(served, shop, number)
    served.command("shops", "export", "--shop", shop, "--out", str(out))
    served.command("shops", "export", "--shop", shop, "--out", str(out))
    with served.client() as client:
        exported = client.get(f"/shops/{shop}/updates/export").text
    assert out.read_text(encoding="utf-8") == exported
    assert [line["data"]["product_id"] for line in lines(exported)] == [1, 2, 3]


def test_an_export_is_narrowed_by_time_and_action_and_never_mixed(
    served: RunningExchange, shop: str, tmp_path: Path
) -> None:
    """From --after on, up to before --before, by the till's time; an output of other wishes is refused."""
    for number, hour in enumerate((9, 10, 11, 12)):
        publish(
            served,
            shop,
            number,
            create_time=f"2023-12-18T{hour:02}:00:00Z",
            action=["ADD", "REMOVE"][number % 2],
        )
    base = ("shops", "export", "--shop", shop)
    found = lines(
        served.command(
            *base, "--after", "2023-12-18T10:00:00Z", "--before", "2023-12-18T13:00:00+01:00"
        ).stdout
    )
    assert [line["data"]["product_id"] for line in found] == [1, 2]
    assert [
        line["data"]["product_id"] for line in lines(served.command(*base, "--action", "REMOVE").stdout)
    ] == [1, 3]
    out = ("--out", str(tmp_path / "adds.jsonl"))
    served.command(*base, "--action", "ADD", *out)
    refused = served.command(*base, *out, check=False)
    assert refused.returncode == 1
    assert "choose another --out" in refused.stderr


def test_tables_have_a_row_for_each_message(served: RunningExchange, shop: str, tmp_path: Path) -> None:
    """CSV with one head however often it goes on, Parquet with amounts as decimals; the UPC keeps its zeros."""
    sheet, folder = tmp_path / "shop.csv", tmp_path / "shop"
    for number in (1, 2):
        publish(served, shop, number, product_name='A "b", c')
        for form, out in (("csv", sheet), ("parquet", folder)):
            served.command("shops", "export", "--shop", shop, "--format", form, "--out", str(out))
    with sheet.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["product_id"], row["product_name"], row["UPC"]) for row in rows] == [
        ("1", 'A "b", c', "0012345678905"),
        ("2", 'A "b", c', "0012345678905"),
    ]
    assert (rows[0]["product_price"], rows[0]["create_time"]) == ("3.5", "2023-12-18T10:30:00+00:00")
    found = [row for part in sorted(folder.glob("*.parquet")) for row in parquet.read_table(part).to_pylist()]
    assert [row["product_id"] for row in found] == [1, 2]
    assert (found[0]["product_price"], found[0]["basket_total"]) == (Decimal("3.5"), Decimal(13))
    assert found[0]["create_time"].isoformat() == "2023-12-18T10:30:00+00:00"
    assert json.loads(found[1]["data"]) == update(shop_id=shop, product_id=2, product_name='A "b", c', **REAL)


def test_tail_shows_the_newest_and_follows(served: RunningExchange, shop: str) -> None:
    """The last ones in the order of publishing, by action if asked; -f shows what is published from then on."""
    for number in range(4):
        publish(served, shop, number, action=["ADD", "REMOVE"][number % 2])
    base = ("shops", "tail", "--shop", shop)
    assert [
        line["data"]["product_id"] for line in lines(served.command(*base, "-n", "3", "--json").stdout)
    ] == [1, 2, 3]
    assert [
        line["data"]["product_id"]
        for line in lines(served.command(*base, "--action", "ADD", "--json").stdout)
    ] == [0, 2]
    assert "Milk, 1 l (3) 3.5  basket 13" in served.command(*base, "-n", "1").stdout
    with running(served, *base, "-n", "1", "-f", "--json") as following:
        assert product(following) == 3
        publish(served, shop, 4)
        assert product(following) == 4


def test_what_a_till_writes_is_one_line_in_tail(served: RunningExchange, shop: str) -> None:
    """Whatever stands in its fields: no line is forged, and nothing acts on the terminal."""
    publish(served, shop, 1, product_name="two\nlines\x1b[2J\u202e", action="A\rB")
    with served.client() as client:
        assert client.post("/send", json={"shop_id": shop, "data": "\u009b2J"}).status_code == 200
    first, second = served.command("shops", "tail", "--shop", shop).stdout.splitlines()
    assert r"A\rB" in first
    assert r"two\nlines\x1b[2J\u202e" in first
    assert second.endswith(r'to the shop: "\x9b2J"')


@contextmanager
def running(served: RunningExchange, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that does not end by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=served.folder,
        env={**served.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def product(process: subprocess.Popen[bytes]) -> int:
    """Of the next line."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], LINE_S_MAX)[0], "no line"
    return int(json.loads(process.stdout.readline())["data"]["product_id"])
