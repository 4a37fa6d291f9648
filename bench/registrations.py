"""First registrations taken by one API process, beside the same server's bare Starlette route.

    make bench-registrations        or: .venv/bin/python bench/registrations.py [--count 5000] [devices] [browsers]

A device that we have not seen is one event, answered with a signed client state once the stream has it. A browser at a
web domain is a push contact that we have not seen, with its subscription, mail address and visitor guid. The
reference answers the same request without doing anything, under the same uvicorn settings, in the same run, in turn.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import count as counted
from pathlib import Path

import httpx
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.device_events import APP, COUNT_MAX, WITHOUT_LIMITS, parser_of
from bench.publish import Round, running_nats
from bench.rig.http_load import load, post
from bench.rig.machine import machine
from bench.rig.serving import Running, api_alone, bare_route, free_port, token_for

ROUNDS = 15
COUNT = 5_000
"""Many short rounds in turn: the speed of a shared machine swings within seconds."""
CONNECTIONS = 128
DEVICE = (
    b'{"platform":"android","applicationVersion":"1.2.3","deviceModel":"Pixel 8","osVersion":"14",'
    b'"sdkVersion":"3.11.0","language":"en-GB","timezone":"+0200","pushSettings":{"areNotificationsEnabled":true,'
    b'"importance":3,"channelSettings":[{"channelId":"news","importance":3,"canShowBadge":true,"canBypassDnd":false,'
    b'"shouldVibrate":true,"shouldShowLights":false}]}}'
)
BROWSER = (
    b'{"domain":"example.org","deviceToken":"browser-%(n)010d","email":"visitor-%(n)d@example.org","visitorGuid":'
    b'"2f1e4fc0-81fd-4a6b-8b5c-%(n)012d","subscription":{"endPoint":"https://fcm.googleapis.com/fcm/send/%(n)d:APA91b",'
    b'"keys":{"p256DH":"BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM",'
    b'"auth":"tBHItJI5svbpez7KI4CCXg"}}}'
)


async def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("kinds", nargs="*", default=["devices"], help="devices, browsers")
    parser.set_defaults(count=COUNT)
    arguments = parser.parse_args()
    count = min(arguments.count, COUNT_MAX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            running_nats(folder, "2m") as server,
            api_alone(folder, server) as api,
            bare_route(free_port()) as bare,
        ):
            await open_app(api, await token_for(folder, "bench", "admin"))
            print(f"machine: {machine()}")
            for kind in arguments.kinds:
                await measured(kind, api, bare, count)


async def measured(kind: str, api: Running, bare: Running, count: int) -> None:
    request, body, expected = {
        "devices": (first_of_device, DEVICE, 204),
        "browsers": (first_of_browser, BROWSER % {b"n": 0}, 200),
    }[kind]
    numbers, plain = counted(), in_place_of(request(0), body)
    ours, reference = [], []
    for _ in range(ROUNDS + 1):  # the first one warms up
        # Made before the clock starts: whoever makes them shares the processors with what is measured.
        firsts = [request(next(numbers)) for _ in range(count)]
        ours.append(await one_round(api, firsts, expected))
        reference.append(await one_round(bare, [plain] * count, 200))
    report(kind, ours[1:], reference[1:])


def in_place_of(request: bytes, body: bytes) -> bytes:
    """The same request, at the reference's address."""
    head, _, _ = request.partition(b"\r\n\r\n")
    method, _, rest = head.split(b" ", 2)
    return b" ".join((method, b"/bare", rest)) + b"\r\n\r\n" + body


def first_of_device(number: int) -> bytes:
    request = post(f"/v3/apps/{APP}/client", DEVICE)
    return request.replace(b"\r\n", b"\r\nX-Client-Id: device-%010d\r\nX-Request-Order: 1\r\n" % number, 1)


def first_of_browser(number: int) -> bytes:
    return post("/push-contacts", BROWSER % {b"n": number})


async def one_round(server: Running, requests: Sequence[bytes], expected: int) -> Round:
    before_s, count = server.cpu_s(), len(requests)
    done = await load(server.port, lambda number: requests[number - 1], count=count, connections=CONNECTIONS)
    assert set(done.statuses) == {expected}, done.statuses
    cpu_us = (server.cpu_s() - before_s) / count * 1e6
    return Round(done.per_second, cpu_us, done.percentile_ms(0.5), done.percentile_ms(0.99))


def report(kind: str, ours: list[Round], reference: list[Round]) -> None:
    for name, rounds in ((f"registrations of {kind}", ours), ("bare Starlette route", reference)):
        rate, cpu_us, p50_ms, p99_ms = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name}: {rate:,.0f}/s, {cpu_us:.0f} us CPU each, p50 {p50_ms:.1f} p99 {p99_ms:.1f} ms")
    for what, pairs in (
        ("ratio", [a.per_second / b.per_second for a, b in zip(ours, reference, strict=True)]),
        ("ratio of CPU", [b.cpu_us / a.cpu_us for a, b in zip(ours, reference, strict=True)]),
    ):
        print(f"{what}: {statistics.median(pairs):.2f} ({', '.join(f'{each:.2f}' for each in pairs)})")


async def open_app(api: Running, token: str) -> None:
    app = {"code": APP, "rate_limits": WITHOUT_LIMITS}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=30) as client:
        made = await client.post("/api/v2/apps", json=app, headers={"authorization": f"Bearer {token}"})
    assert made.status_code == 201, made.text


if __name__ == "__main__":
    uvloop.run(main())
