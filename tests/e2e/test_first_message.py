"""What a newcomer does first: publish once, and see it arrive everywhere and every step of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid1, uuid4

from websockets.sync.client import ClientConnection, connect

from tests.fixtures.served import Served, served

CHANNELS = {"apns", "fcm", "webpush", "sms", "email"}


@contextmanager
def _listening(exchange: Served) -> Iterator[ClientConnection]:
    """A socket that follows the demo thread."""
    with connect(f"ws://127.0.0.1:{exchange.port}/api/v2/connect/{uuid4()}/{uuid1()}") as socket:
        token = exchange.token("demo")
        socket.send(json.dumps({"slug": "/api/v2/subscribe/thread", "tid": "demo", "jwt": token}))
        assert json.loads(socket.recv(10))["ok"] is True
        yield socket


def test_one_publish_arrives_on_all_six_channels(tmp_path: Path) -> None:
    """The demo contact gets it by five providers' protocols and on an open socket, and the message settles."""
    with served(tmp_path) as exchange, _listening(exchange) as socket:
        answer = exchange.call(
            "POST", "/api/v2/publish", {"tid": "demo", "msg": "Hello"}, uid="demo", role=""
        )
        assert answer.status_code == 200
        assert answer.json() is True
        mid = answer.headers["location"].rpartition("/")[2]

        frame = json.loads(socket.recv(10))
        assert (frame["mid"], frame["msg"]) == (mid, "Hello")
        exchange.until(lambda: exchange.message(mid)["state"] == "settled", 20)
        deliveries = exchange.deliveries(mid)
        for row in deliveries:
            times = row["times"]
            assert times["planned"] <= times.get("attempted", times["accepted"]) <= times["accepted"], row
        assert {row["channel"] for row in deliveries} == CHANNELS | {"websocket"}
        assert {row["state"] for row in deliveries} == {"accepted"}
        assert {item["channel"] for item in exchange.arrived()} == CHANNELS
        assert {item["body"] for item in exchange.arrived()} == {"Hello"}
        totals = exchange.message(mid)["totals"]
        assert (totals["accepted"], totals["open"]) == (6, 0)


def test_everything_is_there_after_a_stop_and_a_start(tmp_path: Path) -> None:
    """SIGTERM drains and ends with 0; the second start finds every message and every delivery."""
    with served(tmp_path) as exchange:
        answer = exchange.call("POST", "/api/v2/publish", {"tid": "demo", "msg": "Before"}, uid="demo")
        mid = answer.headers["location"].rpartition("/")[2]
        exchange.until(lambda: exchange.message(mid)["state"] == "settled", 20)
        before = exchange.deliveries(mid)
        assert exchange.stop() == 0
        exchange.start()
        assert exchange.deliveries(mid) == before
        assert len(exchange.arrived()) == len(CHANNELS)
