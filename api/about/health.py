"""Whether the process lives, and whether it should be sent work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from api.port import Health, Probe
from api.route import Answer, Call, Handler, Route, Who
from api.sockets.live import Live

PROBE_S_MAX = 2.0
"""A part that takes longer to answer is not ready; orchestrators ask every few seconds."""
GROUP = "operation"


class Readiness(msgspec.Struct, frozen=True):
    ok: bool
    parts: list[Health]


class Liveness(msgspec.Struct, frozen=True):
    ok: bool


def routes(live: Live) -> tuple[Route, ...]:
    async def livez(_: Call[None, None]) -> Answer:
        return Answer(Liveness(not live.ended), status=503 if live.ended else 200)

    async def readyz(call: Call[None, None]) -> Answer:
        parts = [
            Health("sockets", live.watching, "" if live.watching else "rights are not followed"),
            Health("serving", not live.draining, "shutting down" if live.draining else ""),
            *await examine(call.parts.probes),
        ]
        note(call, parts)
        ok = all(part.ok for part in parts)
        return Answer(Readiness(ok, parts), status=200 if ok else 503)

    async def metrics(call: Call[None, None]) -> Answer:
        note(call, await examine(call.parts.probes))
        return Answer(call.parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return (
        _route("/livez", livez, "Whether the process is alive; if not, restart it.", Liveness),
        _route("/readyz", readyz, "Whether every part answers; if not, send no work.", Readiness),
        _route("/metrics", metrics, "Figures for Prometheus.", str, "text/plain"),
    )


async def examine(probes: Sequence[Probe]) -> list[Health]:
    """Every part's health; all are asked at once."""
    return list(await asyncio.gather(*(_within_time(probe) for probe in probes)))


def note(call: Call[None, None], parts: Sequence[Health]) -> None:
    """Show the same in the metrics."""
    metrics = call.parts.metrics
    for part in parts:
        metrics.health.labels(part.name).set(part.ok)
        for name, value in part.values.items():
            metrics.part_values.labels(part.name, name).set(value)


async def _within_time(probe: Probe) -> Health:
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            return await probe()
    except TimeoutError:
        return Health(probe.name, ok=False, detail=f"no answer within {PROBE_S_MAX:.0f} s")


def _route(path: str, handler: Handler, summary: str, answer: type, media_type: str = "") -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        who=Who.ANYONE,
        summary=summary,
        group=GROUP,
        answer=answer,
        media_type=media_type or "application/json",
        statuses=(200,) if media_type else (200, 503),
    )
