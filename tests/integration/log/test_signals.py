"""SIGNALS on a real server: device events are there when they are answered, interactions a little later."""

from __future__ import annotations

from uuid import UUID, uuid4

from domain.devices.signal import DeviceEvent, DeviceEvents, Interaction, Interactions, Refused
from domain.errors import TooLarge
from domain.ids import partition
from domain.recorded import SIGNALS, Recorded
from infra.log.log import JetStreamLog
from infra.log.signals import CALLS_MAX, WAITING_MAX, JetStreamSignals, SignalFigures, open_signals
from tests.integration.log.scenes import AT, until


async def stored(log: JetStreamLog, kind: str, client: UUID) -> list[Recorded]:
    return await log.read(SIGNALS, f"signal.{kind}.{partition(client)}.{client.hex}")


def a_call(number: int) -> Interaction:
    return Interaction(at=AT, call=f"GET /{number}", status=200, took_ms=1)


def figures(signals: JetStreamSignals) -> dict[str, float]:
    return {
        sample.labels.get("state", "waiting"): sample.value
        for metric in SignalFigures(signals).collect()
        for sample in metric.samples
    }


async def test_a_batch_is_there_once_it_is_answered(log: JetStreamLog) -> None:
    """As it was written, under the client's subject, with its realm and the request's id."""
    signals = await open_signals(log.js, lambda: AT)
    batch = DeviceEvents(
        client=uuid4(),
        contact=uuid4(),
        app="EMS1",
        events=(DeviceEvent(name="ü", at=AT, internal=True, attributes={"k": "v"}, session="s"),),
        refused=(Refused(part="events", index=1, reason="no time", item="{}"),),
        dnd=True,
        state={"opaque": [1]},
    )
    position = await signals.append(batch, kind="effects", realm="möbel", correlation="r1")
    [fact] = await stored(log, "effects", batch.client)
    assert (fact.position, fact.realm, fact.correlation, fact.at) == (position, "möbel", "r1", AT)
    assert fact.topic == "signal.events.v1"
    assert fact.body == batch
    assert signals.in_flight == 0


async def test_a_batch_beyond_a_message_is_refused(log: JetStreamLog) -> None:
    """Nothing is sent that the server would cut the connection for."""
    signals = await open_signals(log.js, lambda: AT)
    batch = DeviceEvents(client=uuid4(), events=(DeviceEvent(name="x" * (5 << 20), at=AT),))
    try:
        await signals.append(batch, kind="events", realm="main")
    except TooLarge:
        assert await stored(log, "events", batch.client) == []
    else:
        raise AssertionError("it was taken")


async def test_a_clients_calls_go_out_together(log: JetStreamLog) -> None:
    """In the order they were noted; the last ones when the process ends."""
    signals = await open_signals(log.js, lambda: AT)
    first, second = uuid4(), uuid4()
    async with signals.writing():
        for number in range(3):
            signals.note("main", first, "EMS1", a_call(number))

        async def written() -> bool:
            return signals.written == 3

        await until(written)
        signals.note("main", second, "EMS1", a_call(7))
    [fact] = await stored(log, "interaction", first)
    assert fact.body == Interactions(
        client=first, app="EMS1", calls=tuple(a_call(number) for number in range(3))
    )
    assert len(await stored(log, "interaction", second)) == 1
    assert figures(signals) == {"written": 4, "dropped": 0, "waiting": 0}


async def test_many_calls_of_one_are_several_messages(log: JetStreamLog) -> None:
    """A merchant's pages make more than a message holds; none is lost, and their order stays."""
    signals, merchant = await open_signals(log.js, lambda: AT), uuid4()
    async with signals.writing():
        for number in range(CALLS_MAX + 1):
            signals.note("main", merchant, "", a_call(number))
    first, second = [fact.body for fact in await stored(log, "interaction", merchant)]
    assert isinstance(first, Interactions)
    assert isinstance(second, Interactions)
    assert (len(first.calls), second.calls) == (CALLS_MAX, (a_call(CALLS_MAX),))


async def test_what_there_is_no_room_for_is_dropped_and_counted(log: JetStreamLog) -> None:
    """Noting never waits: a stream that is away costs calls of the log, not answers."""
    signals = await open_signals(log.js, lambda: AT)
    client = uuid4()
    for _ in range(WAITING_MAX + 5):
        signals.note("main", client, "EMS1", a_call(0))
    assert figures(signals) == {"written": 0, "dropped": 5, "waiting": WAITING_MAX}
    async with signals.writing():
        pass
    assert figures(signals) == {"written": WAITING_MAX, "dropped": 5, "waiting": 0}
