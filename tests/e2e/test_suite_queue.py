"""A device's way on a served exchange with a real RabbitMQ: identified, resolved, told to the suite; killed between."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import httpx
import pytest

from tests.fixtures.exchange import RunningExchange
from tests.fixtures.rabbitmq import RabbitServer

pytestmark = pytest.mark.long

APP, QUEUE, FIELD = "Shop", "suite", 3
INSTALLED, ACCEPTED, ACTIVE = 101, 102, 103
WAIT_S_MAX = 40.0


class Device:
    """What a v4 SDK keeps between calls."""

    def __init__(self, exchange: RunningExchange) -> None:
        self._exchange, self._kept = exchange, {"ec-client-id": str(uuid4())}

    def call(
        self, method: str, path: str, body: dict[str, Any], *, wait_s: int = 0
    ) -> tuple[dict[str, Any], httpx.Headers]:
        headers = {**self._kept, **({"prefer": f"wait={wait_s}"} if wait_s else {})}
        with self._exchange.client() as http:
            answer = http.request(method, f"/v4/apps/{APP}/client{path}", json=body, headers=headers)
        assert answer.status_code in (200, 204), answer.text
        told: dict[str, Any] = answer.json() if answer.content else {}
        for kept, given in (
            ("ec-client-state", answer.headers.get("ec-client-state")),
            ("ec-contact", told.get("contactToken")),
        ):
            if given:
                self._kept[kept] = given
        return told, answer.headers


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


async def _latest(server: RabbitServer, seen: dict[int, dict[str, Any]]) -> None:
    """By contact, the last word on each flag; read off the queue."""
    async with await aio_pika.connect(server.url) as connection:
        queue = await (await connection.channel()).declare_queue(QUEUE, durable=True)
        while message := await queue.get(no_ack=True, fail=False, timeout=10):
            update = json.loads(message.body)
            known = seen.setdefault(update["contactId"], {"position": 0})
            if update["stream"] == "EVENTS" and update["position"] >= known["position"]:
                seen[update["contactId"]] = {
                    **update,
                    "fields": {**known.get("fields", {}), **update["fields"]},
                }


def await_word(
    server: RabbitServer, seen: dict[int, dict[str, Any]], contact_id: int, **fields: Any
) -> dict[str, Any]:
    """Until the suite knows so much of a contact."""
    wanted = {name.removeprefix("f"): value for name, value in fields.items()}
    end = time.monotonic() + WAIT_S_MAX
    while True:
        asyncio.run(_latest(server, seen))
        found = seen.get(contact_id, {}).get("fields", {})
        if wanted.items() <= found.items():
            return seen[contact_id]
        assert time.monotonic() < end, f"{contact_id}: {found}"
        time.sleep(0.1)


def serving(tmp_path: Path, rabbitmq: RabbitServer) -> RunningExchange:
    exchange = RunningExchange(tmp_path, {"MSGXC_RABBITMQ_URL": rabbitmq.url, "MSGXC_RABBITMQ_QUEUE": QUEUE})
    exchange.start()
    return exchange


def make_app(exchange: RunningExchange) -> None:
    settings = {
        "code": APP,
        "default_contact_field": FIELD,
        "contact_field_app_installed": INSTALLED,
        "contact_field_push_accepted": ACCEPTED,
        "contact_field_last_mobile_activity": ACTIVE,
    }
    with exchange.client(exchange.token("boss", "admin")) as http:
        answer = http.post("/api/v2/apps", json=settings)
        assert answer.status_code == 201, answer.text


def test_from_a_device_to_the_suite_and_through_a_kill(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    """A device that waits has the number in its token. What an exchange that is killed did not tell the suite it tells
    it when it is back, and what the broker did not take while it was away it takes then.
    """
    exchange = serving(tmp_path, rabbitmq)
    try:
        make_app(exchange)
        device, seen = Device(exchange), dict[int, dict[str, Any]]()
        device.call("POST", "", {"platform": "android", "language": "en"})
        told, headers = device.call("POST", "/contact", {"contactFieldValue": "ann"}, wait_s=10)
        assert headers["preference-applied"] == "wait=10"
        ann = claims(told["contactToken"])["contactId"]
        word = await_word(rabbitmq, seen, ann, f101=True, f102=False)
        assert (word["merchantId"], word["applicationCode"]) == ("main", APP)

        rabbitmq.kill()
        device.call("PUT", "/push-token", {"pushToken": "a" * 64})
        exchange.kill()
        rabbitmq.start()
        exchange.start()
        await_word(rabbitmq, seen, ann, f101=True, f102=True)

        told, _ = device.call("POST", "/contact", {"contactFieldValue": "bob"}, wait_s=10)
        bob = claims(told["contactToken"])["contactId"]
        assert bob != ann
        await_word(rabbitmq, seen, bob, f101=True, f102=True)
        await_word(rabbitmq, seen, ann, f101=False, f102=False)
        findings = json.loads(exchange.command("doctor", "--json", check=False).stdout)
        of_numbers = {each["about"]: each["state"] for each in findings}
        assert (of_numbers["contacts"], of_numbers["clients"]) == ("ok", "ok")
        assert exchange.stop(signal.SIGTERM) == 0
    finally:
        if exchange.process is not None and exchange.process.poll() is None:
            exchange.kill()
