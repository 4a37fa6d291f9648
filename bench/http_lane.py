"""What a request costs before any command runs: our whole HTTP side, beside the same server's bare Starlette route.

    .venv/bin/python bench/http_lane.py [--count 20000]

A POST of 300 bytes with a checked JWT, its rate counted, its body decoded, answered `true` by a handler that does
nothing: once served as the exchange is (api.sockets.protocol.OPTIONS), once by uvicorn's own protocol. What counts is
the server's processor time for each request, the best of several rounds taken in turn.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jwt
import msgspec
import uvicorn
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from api.about.metrics import Metrics
from api.access.auth import Verifier
from api.access.keys import Key, KeySet
from api.access.limits import LocalCounter, RateLimit
from api.addresses import Addresses
from api.app import Application
from api.endpoint import PathEndpoint
from api.frame import Frame
from api.freshness import RecentWrites
from api.parts import Parts, Settings
from api.route import Answer, Call, Route, Who
from api.sockets.protocol import OPTIONS
from bench.publish import BODY
from bench.rig.http_load import load, post
from bench.rig.machine import machine
from bench.rig.serving import Running, bare_route, child, free_port
from infra.nonces import Nonces

ROUNDS = 5
COUNT_MAX = 200_000
CONNECTIONS = 128
SECRET = b"a secret of a benchmark, which guards nothing"
PATH = "/api/v2/answer"
SERVED = {"lane": OPTIONS, "plain": {**OPTIONS, "http": "httptools"}}
"""Options of uvicorn."""


class Body(msgspec.Struct, frozen=True):
    tid: str
    msg: str
    opts: dict[str, Any] = {}


class _Keys:
    def __init__(self) -> None:
        self._keys = KeySet((Key("bench", "HS256", SECRET),))

    def current(self) -> KeySet:
        return self._keys


async def answer(_call: Call[Body, None]) -> Answer:
    return Answer()


def application() -> Application:
    """The API with this one route: of the parts only those are there that every request passes."""
    limit = RateLimit(LocalCounter(), now_s=time.time, quota=10**9)
    there = SimpleNamespace(
        verifier=Verifier(_Keys(), now_s=time.time),
        rate_limit=lambda: limit,
        metrics=Metrics(),
        settings=Settings(),
        request_id=Nonces(),
    )
    parts = cast("Parts", there)
    route = Route(
        method="POST",
        path=PATH,
        handler=answer,
        who=Who.TOKEN,
        summary="",
        group="",
        body=Body,
        idempotent=True,
    )
    recent = RecentWrites(cast("Any", None), cast("Any", None), now_s=time.time)
    return Application({PATH: PathEndpoint([route], parts, recent)}, {}, Addresses({}), None, Frame(parts))


async def main() -> None:
    arguments = parse()
    claims = {"sub": "bench", "exp": time.time() + 3600}
    token = jwt.encode(claims, SECRET.decode(), algorithm="HS256", headers={"kid": "bench"})
    ours, bare_post = post(PATH, BODY, token=token), post("/bare", BODY)
    ports = {name: free_port() for name in SERVED}
    async with (
        child(_command("lane", ports["lane"]), os.environ, ports["lane"]) as lane,
        child(_command("plain", ports["plain"]), os.environ, ports["plain"]) as plain,
        bare_route(free_port()) as bare,
    ):
        servers = {
            "lane": (Running(ports["lane"], lane), ours),
            "plain": (Running(ports["plain"], plain), ours),
            "bare": (bare, bare_post),
        }
        best = dict.fromkeys(servers, float("inf"))
        for _ in range(ROUNDS):
            for name, (server, request) in servers.items():
                best[name] = min(best[name], await cpu_us(server, request, arguments.count))
    report(best)


async def cpu_us(server: Running, request: bytes, count: int) -> float:
    before_s = server.cpu_s()
    done = await load(server.port, lambda _: request, count=count, connections=CONNECTIONS)
    assert set(done.statuses) == {200}, done.statuses
    return (server.cpu_s() - before_s) / count * 1e6


def report(best: dict[str, float]) -> None:
    print(f"machine: {machine()}")
    words = {
        "lane": "answered, as the exchange is served",
        "plain": "answered, under uvicorn's own protocol",
        "bare": "bare Starlette route",
    }
    for name, cost_us in best.items():
        print(f"{words[name]}: {cost_us:.1f} us CPU each, ratio {best['bare'] / cost_us:.2f}")


def _command(served: str, port: int) -> list[str]:
    return [sys.executable, __file__, "--serve", served, "--port", str(port)]


def serve(served: str, port: int) -> None:
    uvicorn.run(
        application(),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        **SERVED[served],
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="requests a round, at most 200,000")
    parser.add_argument("--serve", choices=SERVED, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not 1 <= arguments.count <= COUNT_MAX:
        parser.error(f"--count is 1 to {COUNT_MAX:,}")
    return arguments


if __name__ == "__main__":
    given = parse()
    if given.serve:
        serve(given.serve, given.port)
    else:
        uvloop.run(main())
