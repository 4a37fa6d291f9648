"""Everything is killed in the middle of a broadcast. Nothing acknowledged is lost, and what went twice says so."""

import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx

from tests.fixtures.served import Served, served

CONTACTS = 60
BROADCASTS = 6
CHANNELS = ("apns", "email")


def _enlist(exchange: Served) -> dict[tuple[str, str], str]:
    """Contacts with an iPhone and a mail address each: (channel, address) -> uid."""
    owner: dict[tuple[str, str], str] = {}
    for number in range(CONTACTS):
        uid, token, mail = f"u{number}", f"{number:064x}", f"u{number}@example.org"
        put = exchange.call("PUT", f"/api/v2/contacts/{uid}", {"email": mail})
        assert put.status_code in {200, 201}, put.text
        enlisted = exchange.call("POST", "/api/v2/enlist", {"os": "ios", "token": token}, uid=uid, role="")
        assert enlisted.status_code == 200, enlisted.text
        owner["apns", token], owner["email", mail] = uid, uid
    return owner


def _slow_down(exchange: Served) -> None:
    """The providers take their time, so that a kill finds sends in flight."""
    for channel in CHANNELS:
        rule = {"channel": channel, "count": None, "delay_s": 0.3, "action": {"type": "proceed"}}
        answer = exchange.http.post("/sandbox/rules", json=rule)
        assert answer.status_code < 300, answer.text


def _broadcast(exchange: Served, acknowledged: list[str]) -> None:
    """Broadcast until the exchange is gone; only what was answered counts."""
    for number in range(BROADCASTS):
        try:
            answer = exchange.call("POST", "/api/v2/broadcast", {"msg": f"Number {number}"})
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            acknowledged.append(answer.headers["location"].rpartition("/")[2])


def _ours(exchange: Served, channel: str) -> list[tuple[str, str, str]]:
    """(message, channel, address) of what arrived."""
    return [
        (item["message_id"].replace("-", ""), channel, item["address"])
        for item in exchange.arrived(channel)
        if item["arrived"]
    ]


def test_nothing_is_lost_and_nothing_sent_twice_unmarked(tmp_path: Path) -> None:
    """SIGKILL to all processes in the middle, then a start: books and deliveries agree to the last one."""
    with served(tmp_path) as exchange:
        owner = _enlist(exchange)
        _slow_down(exchange)
        acknowledged: list[str] = []
        sender = threading.Thread(target=_broadcast, args=(exchange, acknowledged))
        sender.start()
        exchange.until(lambda: len(_ours(exchange, "apns")) >= CONTACTS // 2, 30)
        exchange.kill()
        sender.join(30)
        assert acknowledged
        sent_before = _books(tmp_path)
        exchange.start()
        exchange.until(lambda: _all_settled(exchange, acknowledged), 120)

        arrived = Counter(entry for channel in CHANNELS for entry in _ours(exchange, channel))
        late = "the kill came after the last send: nothing was tested"
        assert 0 < sent_before < sum(arrived.values()), late
        for mid in acknowledged:
            _compare(exchange, mid, owner, arrived)


def _all_settled(exchange: Served, mids: list[str]) -> bool:
    return all(exchange.message(mid)["state"] == "settled" for mid in mids)


def _books(folder: Path) -> int:
    """How many messages had arrived, by the sandbox's file."""
    with closing(sqlite3.connect(next((folder / "data").rglob("books.sqlite")))) as books:
        count: int = books.execute("SELECT count(*) FROM messages WHERE arrived").fetchone()[0]
        return count


def _compare(
    exchange: Served, mid: str, owner: dict[tuple[str, str], str], arrived: Counter[tuple[str, str, str]]
) -> None:
    """One message: a delivery for each address, in a terminal state, and in the books as often as it says."""
    rows = [
        row for row in exchange.deliveries(mid) if row["channel"] in CHANNELS and row["contact"] != "demo"
    ]
    by_owner = {(row["channel"], row["contact"]): row for row in rows}
    assert len(rows) == len(by_owner) == len(owner)
    for (channel, address), uid in owner.items():
        row = by_owner[channel, uid]
        times = arrived[mid.replace("-", ""), channel, address]
        assert row["state"] == "accepted", row
        assert times >= 1, f"{channel} to {uid} is accepted, but never arrived"
        assert times == 1 or row["repeated"], f"{channel} to {uid} arrived {times} times, unmarked"
