"""The suite learns that an app is in use from devices' own events, about once an hour for each client."""

from __future__ import annotations

from datetime import timedelta

import pytest

import processes.devices.suite_activity
from commands.apps import RegisterApp
from domain.app_settings import AppSettings
from domain.devices.signal import DeviceEvent, DeviceEvents, SignalKind
from domain.recorded import SIGNALS
from tests.memory.devices import APP, DEVICE, device, identify
from tests.memory.ports.contact_data import FIRST
from tests.memory.ports.signals import MemorySignals
from tests.memory.world import REALM, RESOLUTION, World, world

ROLES = ("project-events", *(role for role in RESOLUTION if role != "suite-updater"), "suite-activity")
ACTIVE = 103


async def make_app(made: World, field: int | None = ACTIVE) -> None:
    settings = AppSettings(
        merchant=REALM, contact_field_last_mobile_activity=field, contact_field_app_installed=101
    )
    await made.do(RegisterApp(code=APP, settings=settings))


async def use(made: World, client: object = DEVICE, *, app: str = APP, kind: SignalKind = "events") -> None:
    """The device says that a session began."""
    began = DeviceEvent(name="session:start", at=made.clock.now, internal=True)
    batch = DeviceEvents(client=client, app=app, events=(began,))  # type: ignore[arg-type]
    await MemorySignals(made.own.log).append(batch, kind=kind, realm=REALM)


async def test_use_is_passed_on_with_its_time() -> None:
    """The exchange's own time, and nothing but the time: flags are EVENTS' to tell."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made)
        await made.quiet()
        made.clock.advance(30)
        await use(made)
        await made.quiet()
        [(id, update)] = made.suite_queue.kept
        assert update.contact_id == FIRST
        assert update.fields == {ACTIVE: made.clock.now.isoformat(timespec="milliseconds")}
        assert (update.stream, update.position) == (SIGNALS, 1)
        assert id.startswith(f"{SIGNALS}-1-")


async def test_a_busy_device_is_passed_on_once_an_hour() -> None:
    """Each client by itself; events that lead to something count as well."""
    second = device("device-2")
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made, devices=(DEVICE, second))
        await made.quiet()
        for kind in ("events", "effects", "events"):
            await use(made, kind=kind)
            await use(made, second)
            await made.quiet()
            made.clock.advance(60)
        assert len(made.suite_queue.kept) == 2
        made.clock.advance(timedelta(hours=1).total_seconds())
        await use(made)
        await made.quiet()
        assert len(made.suite_queue.kept) == 3


async def test_nothing_is_passed_on_of_who_has_no_number_or_no_field() -> None:
    """An unknown client, an app without the field, a contact that is not resolved yet: the next event is asked anew."""
    async with world(roles=("project-events", "suite-activity")) as made:
        await make_app(made, field=None)
        await identify(made)
        await use(made)
        await use(made, device("nobody"))
        await use(made, app="other-app")
        await made.rest()
        assert made.suite_queue.kept == []
        assert made.streams.aside == {}


async def test_without_a_confirm_it_comes_again() -> None:
    """Activity that the suite's queue refuses is told again until it is taken, and kept once."""
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made)
        await made.quiet()
        made.suite_queue.refuses = 3
        await use(made)
        await made.rest()
        assert [update.position for _, update in made.suite_queue.kept] == [1]


async def test_memory_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was forgotten is passed on once more: too much is told, never too little."""
    monkeypatch.setattr(processes.devices.suite_activity, "CLIENTS_MAX", 1)
    second = device("device-2")
    async with world(roles=ROLES) as made:
        await make_app(made)
        await identify(made, devices=(DEVICE, second))
        await made.quiet()
        for client in (DEVICE, second, DEVICE):
            await use(made, client)
            await made.quiet()
        assert len(made.suite_queue.kept) == 3
