"""Everything is killed in the middle of a broadcast. Nothing acknowledged is lost, and only what was in flight may have
gone twice, which it says.
"""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid1, uuid4

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.fixtures.served import ROOT, Served, served

CONTACTS = 12
BROADCASTS = 4
PROVIDERS = ("apns", "fcm", "webpush", "sms", "email")
BEFORE_THE_KILL = CONTACTS
"""Arrivals of slow broadcasts after which everything is killed: most are in flight then, or to come."""
QUIET_S = 2.0
"""A socket that has shown nothing for this long has nothing to show; messages are settled by then."""


class Place(NamedTuple):
    """One message to one contact on one channel. Each contact has one address there."""

    body: str
    channel: str
    contact: str


class Heard:
    """What a socket that shows broadcasts has shown, over a reconnect."""

    def __init__(self) -> None:
        self.bodies: Counter[str] = Counter()
        self._position = ""

    @contextmanager
    def socket(self, exchange: Served) -> Iterator[ClientConnection]:
        """One that goes on where the last one ended."""
        url = f"ws://127.0.0.1:{exchange.port}/api/v2/connect/{uuid4()}/{uuid1()}"
        token = exchange.token("demo")
        with connect(url) as socket:
            socket.send(json.dumps({"slug": "/api/v2/subscribe/thread", "tid": "demo", "jwt": token}))
            assert json.loads(socket.recv(10))["ok"] is True
            if self._position:
                socket.send(json.dumps({"slug": "/api/v2/resume", "position": self._position}))
            yield socket

    def take(self, socket: ClientConnection) -> None:
        """Note messages until the exchange is gone, or nothing comes any more."""
        with suppress(ConnectionClosed, TimeoutError):
            while True:
                frame: dict[str, Any] = json.loads(socket.recv(QUIET_S))
                self._position = frame.get("position", self._position)
                if "mid" in frame:
                    self.bodies[frame["msg"]] += 1


def test_nothing_is_lost_and_nothing_sent_twice_unmarked(tmp_path: Path) -> None:
    """SIGKILL to all processes in the middle, then a start: on all six channels books and deliveries agree to the last
    one, and what is marked, or arrived twice, had an attempt without an outcome.
    """
    with served(tmp_path) as exchange:
        owners = dict(_people(exchange))
        owners |= _demo(exchange)
        heard = Heard()
        acknowledged: dict[str, str] = {}
        with heard.socket(exchange) as socket:
            _broadcast(exchange, ["Number 0"], acknowledged)
            exchange.until(lambda: _all_settled(exchange, acknowledged), 30)
            before = len(exchange.arrived())
            _slow_down(exchange)
            more = [f"Number {number}" for number in range(1, BROADCASTS)]
            sender = threading.Thread(target=_broadcast, args=(exchange, more, acknowledged))
            sender.start()
            exchange.until(lambda: len(exchange.arrived()) >= before + BEFORE_THE_KILL, 60)
            exchange.kill()
            sender.join(30)
            heard.take(socket)
        assert len(acknowledged) > 1
        exchange.start()
        with heard.socket(exchange) as socket:
            exchange.until(lambda: _all_settled(exchange, acknowledged), 120)
            heard.take(socket)

        assert heard.bodies.keys() >= {*acknowledged.values()}
        assert set(heard.bodies.values()) == {1}
        in_flight = _in_flight(exchange, acknowledged)
        assert in_flight, "the kill came after the last send: nothing was tested"
        assert not any(place.body == "Number 0" for place in in_flight)
        arrived = _arrived(exchange, owners)
        deliveries = _deliveries(exchange, acknowledged)
        expected = {Place(body, *where) for body in acknowledged.values() for where in owners.values()}
        providers = {place: row for place, row in deliveries.items() if place.channel != "websocket"}
        assert providers.keys() == expected
        assert len(deliveries) - len(providers) == len(acknowledged) * (CONTACTS + 1)
        assert {row["state"] for row in deliveries.values()} == {"accepted"}
        assert {place for place in expected if not arrived[place]} == set(), "accepted, but never arrived"
        marked = {place for place, row in deliveries.items() if row["repeated"]}
        twice = {place for place in expected if arrived[place] > 1}
        assert twice <= marked <= in_flight
        assert max(arrived.values()) <= 2


def _people(exchange: Served) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Contacts with an address on every channel: (channel, address) -> (channel, uid)."""
    for number in range(CONTACTS):
        uid, mail, cell = f"u{number}", f"u{number}@example.org", f"+1500556{number:04}"
        put = exchange.call("PUT", f"/api/v2/contacts/{uid}", {"email": mail, "cell": cell})
        assert put.status_code in {200, 201}, put.text
        ios, android = (
            exchange.http.post("/sandbox/devices", json={"os": os}).json() for os in ("ios", "android")
        )
        browser = exchange.http.post("/sandbox/subscriptions", json={}).json()
        for device in (ios, android, browser):
            enlisted = exchange.call("POST", "/api/v2/enlist", device, uid=uid, role="")
            assert enlisted.status_code == 200, enlisted.text
        addresses = (ios["token"], android["token"], browser["endpoint"], cell, mail)
        for channel, address in zip(PROVIDERS, addresses, strict=True):
            yield (channel, address), (channel, uid)


def _demo(exchange: Served) -> dict[tuple[str, str], tuple[str, str]]:
    """The demo contact's addresses, as a message to it alone shows them."""
    exchange.call("POST", "/api/v2/send", {"uid": "demo", "msg": "Where are you?"})
    arrived = exchange.until(lambda: len(found := exchange.arrived()) == len(PROVIDERS) and found, 20)
    assert arrived
    return {(item["channel"], item["address"]): (item["channel"], "demo") for item in arrived}


def _slow_down(exchange: Served) -> None:
    """The providers take their time, so that a kill finds sends in flight."""
    rules = [
        {"channel": channel, "count": None, "delay_s": 0.4, "action": {"type": "proceed"}}
        for channel in PROVIDERS
    ]
    answer = exchange.http.post("/sandbox/rules", json=rules)
    assert answer.status_code < 300, answer.text


def _broadcast(exchange: Served, bodies: Iterable[str], acknowledged: dict[str, str]) -> None:
    """Broadcast until the exchange is gone; only what was answered counts: message -> body."""
    for body in bodies:
        try:
            answer = exchange.call("POST", "/api/v2/broadcast", {"msg": body})
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            acknowledged[answer.headers["location"].rpartition("/")[2]] = body


def _all_settled(exchange: Served, acknowledged: dict[str, str]) -> bool:
    return all(exchange.message(mid)["state"] == "settled" for mid in acknowledged)


def _arrived(exchange: Served, owners: dict[tuple[str, str], tuple[str, str]]) -> Counter[Place]:
    """The sandbox's books."""
    return Counter(
        Place(item["body"], *owners[item["channel"], item["address"]])
        for item in exchange.arrived()
        if item["arrived"]
    )


def _deliveries(exchange: Served, acknowledged: dict[str, str]) -> dict[Place, dict[str, Any]]:
    rows: dict[Place, dict[str, Any]] = {}
    for mid, body in acknowledged.items():
        for row in exchange.deliveries(mid):
            place = Place(body, row["channel"], row["contact"])
            assert place not in rows
            rows[place] = row
    return rows


def _in_flight(exchange: Served, acknowledged: dict[str, str]) -> set[Place]:
    """Those of the attempts that have no outcome of their own: by the log, whatever else it says of them."""
    uids = {fact["subject"].rpartition(".")[2]: fact["data"]["uid"] for fact in _log(exchange, "EVENTS")}
    recipients: dict[tuple[str, str], list[Any]] = {}
    attempts: dict[int, dict[str, Any]] = {}
    for fact in _log(exchange, "DELIVERY"):
        kind, data = fact["topic"].partition(".")[0], fact["data"]
        if kind == "dispatch":
            _, channel, _, message, page, try_ = fact["subject"].split(".")
            recipients[channel, f"{message}-{page}-{try_}"] = data["recipients"]
        elif kind == "attempt":
            attempts[fact["position"]] = data
        elif kind == "outcome" and data["results"]:
            attempts.pop(data["attempt"], None)
    return {
        Place(acknowledged[data["message"]], data["channel"], uids[contact.replace("-", "")])
        for data in attempts.values()
        if data["message"] in acknowledged
        for contact, *_ in recipients[data["channel"], data["dispatch"]][data["first"] : data["last"]]
    }


def _log(exchange: Served, stream: str) -> list[dict[str, Any]]:
    """DELIVERY whole; of EVENTS, who was created."""
    topics = ["--topic", "contact.created.v1"] if stream == "EVENTS" else []
    done = subprocess.run(
        [sys.executable, "-m", "cli", "events", "export", "--stream", stream, *topics],
        cwd=ROOT,
        env=exchange.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
