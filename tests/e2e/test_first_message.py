"""What a newcomer does first: publish once, and see it arrive everywhere and every step of it."""

from pathlib import Path

from tests.fixtures.served import served

CHANNELS = {"apns", "fcm", "webpush", "sms", "email"}


def test_one_publish_arrives_on_all_six_channels(tmp_path: Path) -> None:
    """The demo contact gets it by five providers' protocols and on the feed, and the message settles."""
    with served(tmp_path) as exchange:
        answer = exchange.call(
            "POST", "/api/v2/publish", {"tid": "demo", "msg": "Hello"}, uid="demo", role=""
        )
        assert answer.status_code == 200
        assert answer.json() is True
        mid = answer.headers["location"].rpartition("/")[2]

        exchange.until(lambda: exchange.message(mid)["state"] == "settled", 20)
        deliveries = exchange.deliveries(mid)
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
