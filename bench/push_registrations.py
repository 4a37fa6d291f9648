"""First registrations of browsers at a web domain, by one API process, beside the same server's bare Starlette route.

    .venv/bin/python bench/push_registrations.py [--count 5000]

Each is a push contact that we have not seen, with its subscription, mail address and visitor guid. The reference
answers the same body without doing anything, under the same uvicorn settings, in the same run, in turn.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
from itertools import count as counted
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.device_events import parse
from bench.http_load import post
from bench.publish import running_nats
from bench.registrations import ROUNDS, one_round, report
from bench.serving import api_alone, bare_route, free_port

BODY = (
    b'{"domain":"example.org","deviceToken":"browser-%(n)010d","email":"visitor-%(n)d@example.org","visitorGuid":'
    b'"2f1e4fc0-81fd-4a6b-8b5c-%(n)012d","subscription":{"endPoint":"https://fcm.googleapis.com/fcm/send/%(n)d:APA91b",'
    b'"keys":{"p256DH":"BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM",'
    b'"auth":"tBHItJI5svbpez7KI4CCXg"}}}'
)


async def main() -> None:
    arguments = parse(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            running_nats(folder, "2m") as server,
            api_alone(folder, server) as api,
            bare_route(free_port()) as bare,
        ):
            numbers, plain = counted(), post("/bare", BODY % {b"n": 0})
            print(
                f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
            )
            ours, reference = [], []
            for _ in range(ROUNDS + 1):  # the first one warms up
                ours.append(await one_round(api, lambda _: first_of(next(numbers)), arguments.count, 200))
                reference.append(await one_round(bare, lambda _: plain, arguments.count, 200))
    report(ours[1:], reference[1:])


def first_of(number: int) -> bytes:
    return post("/push-contacts", BODY % {b"n": number})


if __name__ == "__main__":
    asyncio.run(main())
