"""Devices as their signals tell: what each keeps for us to give back, and its latest session. Ends with the signals."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.devices.device_actions import DURATION, SESSION_END, SESSION_START
from domain.devices.signal import KEPT, DeviceEvent, DeviceEvents
from domain.recorded import SIGNALS, Recorded
from domain.text.number import whole_number
from projections.port import Generation, Put, ReadModels, Row, Table, Write

DEVICES = Table(
    projection="devices",
    name="devices",
    partition={"realm": "text", "client": "uuid"},
    columns={
        "app": "text",
        "state": "json",
        "state_at": "timestamp",
        "session": "text",
        "session_started": "timestamp",
        "session_ended": "timestamp",
        "session_ms": "bigint",
    },
)
"""state: deviceEventState, as the device sent it last. session_*: by our clock; session_ms: as the SDK has it."""

MS_DIGITS_MAX = 12
"""Thirty years."""


class Devices:
    """The projection."""

    name, version = "devices", 1
    streams = (SIGNALS,)
    tables = (DEVICES,)

    def project(self, fact: Recorded) -> Iterable[Write]:
        signal = fact.body
        if not isinstance(signal, DeviceEvents):
            return
        values: dict[str, Any] = {}
        if signal.state is not None:
            values |= {"state": signal.state, "state_at": fact.at}
        for event in signal.events:
            if event.internal:
                values |= _session(event, fact.at)
        if values:
            yield Put(DEVICES, (fact.realm, signal.client), {"app": signal.app, **values}, fact.position)

    async def check(self, generation: Generation) -> list[str]:
        """Nothing holds between its rows: each is what one device said last."""
        return []


def _session(event: DeviceEvent, at: datetime) -> dict[str, Any]:
    if event.name == SESSION_START:
        started = {"session": event.session or None, "session_started": at}
        return {**started, "session_ended": None, "session_ms": None}
    if event.name == SESSION_END:
        return {"session_ended": at, "session_ms": _ms(event.attributes.get(DURATION, ""))}
    return {}


def _ms(said: str) -> int | None:
    return whole_number(said, MS_DIGITS_MAX)


async def find(models: ReadModels, realm: str, client: UUID) -> Row | None:
    return await models.get(DEVICES, (realm, client))


async def state_of(models: ReadModels, realm: str, client: UUID, *, now: datetime) -> Any:
    """What the device last asked us to keep; None when that is nothing, or longer ago than signals are kept."""
    row = await find(models, realm, client)
    if row is None or row["state_at"] is None or now - row["state_at"] > KEPT:
        return None
    return row["state"]
