"""What /readyz asks: the log, its room, how far the read models and the feed are behind, the roles of this process."""

from __future__ import annotations

from api.port import Health
from cli.bootstrap import Exchange
from domain.errors import Unavailable
from domain.recorded import EVENTS
from infra.supervisor import State, Supervisor
from processes.port import LogMismatch
from projections.catalogue import ALL

FULL_SHARE = 0.85
"""EVENTS refuses what does not fit; operators are told in time."""

LAG_MAX = 50_000
"""Facts behind, at which an answer may be many seconds old: a second's work of a projector is about 20,000."""


class LogProbe:
    name = "log"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self) -> Health:
        try:
            info = await self._exchange.log.js.info(EVENTS)
        except Unavailable as error:
            return Health("log", ok=False, detail=error.detail)
        if info is None:
            return Health("log", ok=False, detail=f"there is no stream {EVENTS}")
        limit = int(info.config.get("max_bytes") or 0)
        share = info.state.bytes / limit if limit > 0 else 0.0
        values = {
            "position": float(info.state.last_seq),
            "bytes": float(info.state.bytes),
            "full_share": share,
        }
        if share > FULL_SHARE:
            detail = f"{EVENTS} is {share:.0%} full: raise its max_bytes before it refuses events"
            return Health("log", ok=False, detail=detail, values=values)
        return Health("log", ok=True, values=values)


class ModelsProbe:
    """Whether each projection can be read, and how far it is behind the log."""

    name = "read-models"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self) -> Health:
        try:
            store = self._exchange.store
            unbuilt = [each.name for each in ALL if not await store.has_live(each.name)]
            lags = await projection_lags(self._exchange)
        except Unavailable as error:
            return Health("read-models", ok=False, detail=error.detail)
        behind = {name: lag for name, lag in lags.items() if lag > LAG_MAX}
        values = {f"lag_{name}": float(lag) for name, lag in lags.items()}
        wrong = [f"{name} is {lag:,} facts behind" for name, lag in behind.items()]
        if unbuilt:
            wrong.insert(0, f"not built yet: {', '.join(unbuilt)}; is msgxc project at work?")
        return Health("read-models", ok=not wrong, detail="; ".join(wrong), values=values)


class FeedProbe:
    """How far what sockets show is behind the log. No reason to send an API no work: what it accepts is shown later."""

    name = "feed"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self) -> Health:
        try:
            lag = await self._exchange.log.feed.lag()
        except (Unavailable, LogMismatch) as error:
            return Health("feed", ok=False, detail=str(error))
        detail = (
            f"what sockets show is {lag:,} facts behind: is msgxc dispatch at work?" if lag > LAG_MAX else ""
        )
        return Health("feed", ok=True, detail=detail, values={"lag": float(lag)})


class RolesProbe:
    """Roles that cannot go on, or keep failing."""

    name = "roles"

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def __call__(self) -> Health:
        statuses = self._supervisor.statuses
        broken = {
            name: status for name, status in statuses.items() if status.state in {State.HALTED, State.WAITING}
        }
        values = {f"restarts_{name}": float(status.restarts) for name, status in statuses.items()}
        detail = "; ".join(f"{name} is {status.state}: {status.reason}" for name, status in broken.items())
        return Health("roles", ok=not broken, detail=detail, values=values)


async def projection_lags(exchange: Exchange) -> dict[str, int]:
    """Facts behind, by projection; the larger one where it reads two streams."""
    ends: dict[str, int] = {}
    lags: dict[str, int] = {}
    for projection in ALL:
        for stream in projection.streams:
            if stream not in ends:
                ends[stream] = await exchange.log.end(stream)
            checkpoint = await exchange.store.checkpoint(projection.name, stream)
            lag = ends[stream] - (checkpoint.position if checkpoint else 0)
            lags[projection.name] = max(lag, lags.get(projection.name, 0))
    return lags
