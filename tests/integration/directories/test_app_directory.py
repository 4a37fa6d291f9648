"""Apps from memory on a real log: quick, shared, and never behind what was changed elsewhere."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from commands.apps import ChangeApp, RetireApp
from domain.app import AppFacts
from domain.app_settings import AppSettings
from domain.errors import TooMany
from infra.apps.directory import UNKNOWN_S
from infra.apps.lookups import Level
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.service import Service
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from tests.fixtures.directory_service import TOKEN, directory_service
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.fixtures.proxy import proxy_to
from tests.integration.directories.processes import (
    BEHIND_S_MAX,
    IDS,
    REALM,
    Process,
    another,
    change,
    following,
    register,
    said,
    seen,
)
from tests.integration.log.scenes import until


async def test_a_change_is_seen_by_another_process_within_a_second(
    here: Process, nats_server: NatsServer
) -> None:
    """Its registration (after it was unknown), each change, and its end; between them from memory alone."""
    async with another(nats_server) as there:
        assert await there.name() is None
        assert await there.remembers()
        await here.do(register())
        assert await seen(there.name, "Shop") < BEHIND_S_MAX
        await until(there.remembers)
        for number in range(3):
            await here.do(change(f"Shop {number}"))
            assert await seen(there.name, f"Shop {number}") < BEHIND_S_MAX
            assert await seen(here.name, f"Shop {number}") < BEHIND_S_MAX
            await until(there.remembers)
        await here.do(RetireApp(code="SHOP"))
        assert await seen(there.name, None) < BEHIND_S_MAX


async def test_an_app_is_looked_up_once(here: Process) -> None:
    """A thousand calls, in whatever case they write its code, ask the source once; then it is in memory."""
    await here.do_and_hear(register())
    codes = ["SHOP", "shop", "Shop"]
    answers = await asyncio.gather(*(here.apps.app(codes[number % 3]) for number in range(1000)))
    assert {each.code for each in answers if each is not None} == {"SHOP"}
    assert here.source.asked == 1
    assert await here.remembers()
    assert here.source.asked == 1


async def test_a_look_up_costs_its_toll_once_and_a_refused_one_asks_nobody(here: Process) -> None:
    """Who joins a look-up, or finds an app or no app in memory, pays nothing."""
    await here.do_and_hear(register())
    paid: list[str] = []
    await asyncio.gather(*(here.apps.app("SHOP", toll=lambda: paid.append("once")) for _ in range(50)))
    await here.apps.app("SHOP", toll=lambda: paid.append("again"))
    assert paid == ["once"]

    def refuse() -> None:
        raise TooMany("too many codes of no app", retry_after_s=1)

    asked = here.source.asked
    with pytest.raises(TooMany):
        await here.apps.app("INVENTED", toll=refuse)
    assert here.source.asked == asked
    assert await here.apps.app("INVENTED") is None
    assert await here.apps.app("invented", toll=refuse) is None


async def test_what_one_process_has_asked_the_others_have(here: Process, nats_server: NatsServer) -> None:
    """The second process finds it in the bucket, and the source is left in peace."""
    await here.do(register())
    assert await here.name() == "Shop"
    async with another(nats_server) as there:
        assert await there.name() == "Shop"
        assert (there.count(Level.SHARED), there.source.asked) == (1, 0)


async def test_a_shared_entry_that_is_behind_is_not_believed(
    here: Process, log: JetStreamLog, nats_server: NatsServer
) -> None:
    """The app was changed while no directory was running: nobody was there to take the entry away."""
    await here.do(register())
    found = await here.shared.find(IDS.app("SHOP"))
    assert await here.name() == "Shop"
    await Process(log).do(change("New"))
    async with another(nats_server) as there:
        assert await there.name() == "New"
        # Nor does a process that was slow bring the old one back.
        old = AppFacts(IDS.app("SHOP"), "SHOP", AppSettings(merchant=REALM, name="Shop"))
        await here.shared.put(old, found)
        assert (await here.shared.find(IDS.app("SHOP"))).facts != old


async def test_a_look_that_a_change_has_overtaken_is_not_kept(here: Process) -> None:
    """The answer was read before the change and came after it: the next look asks again."""
    await here.do_and_hear(register())
    here.source.held = asyncio.Event()
    slow = asyncio.create_task(here.name())
    await until(said(lambda: here.source.asked == 1))
    await here.do_and_hear(change("New"))
    here.source.held.set()
    assert await slow == "Shop"
    assert await here.name() == "New"


async def test_who_asks_after_a_change_does_not_join_a_look_from_before(here: Process) -> None:
    """A look under way may have been read before the change."""
    await here.do_and_hear(register())
    here.source.held = asyncio.Event()
    slow = asyncio.create_task(here.name())
    await until(said(lambda: here.source.asked == 1))
    await here.do_and_hear(change("New"))
    late = asyncio.create_task(here.name())
    await until(said(lambda: here.source.asked == 2))
    here.source.held.set()
    assert (await slow, await late) == ("Shop", "New")


async def test_unknown_codes_are_remembered_shortly(here: Process) -> None:
    """A device with a wrong code asks again and again; the source hears of it now and then."""
    for _ in range(50):
        assert await here.name("NONE") is None
    assert here.source.asked == 1
    here.clock.now_s += UNKNOWN_S + 1
    assert await here.name("NONE") is None
    assert here.source.asked == 2


async def test_invented_codes_push_no_app_out_of_memory(log: JetStreamLog) -> None:
    """They are remembered apart, and no more of them than there is room for."""
    async with following(Process(log, unknown_max=10, apps_max=2)) as here:
        await here.do_and_hear(register())
        await here.do_and_hear(register(code="SECOND"))
        await until(lambda: here.remembers("SECOND"))
        await until(here.remembers)
        for number in range(50):
            assert await here.name(f"NONE-{number}") is None
        assert await here.remembers()
        assert await here.remembers("SECOND")
        assert len(here.apps._unknown) == 10
        await here.do_and_hear(register(code="THIRD"))
        await until(lambda: here.remembers("THIRD"))
        assert len(here.apps._known) == 2


@pytest.mark.parametrize("code", ["", "a/b", "*", ">", "x" * 65])
async def test_what_no_app_can_be_called_is_asked_of_nobody(here: Process, code: str) -> None:
    """It neither costs a look-up nor a place in memory."""
    assert await here.apps.app(code) is None
    assert here.source.asked == 0


async def test_nothing_is_remembered_by_who_does_not_follow(log: JetStreamLog) -> None:
    """A command that runs for a moment sees what is; so does a process whose follower is being started anew."""
    process = Process(log)
    await process.do(register())
    assert await process.name() == "Shop"
    await process.do(change("New"))
    assert await process.name() == "New"
    assert process.count(Level.MEMORY) == 0


async def test_what_changed_while_the_connection_was_broken_is_known(
    here: Process, nats_server: NatsServer
) -> None:
    """After it is back nothing of before is believed."""
    await here.do(register())
    async with (
        proxy_to(nats_server.port) as proxy,
        another(nats_server, url=proxy.url) as there,
    ):
        assert await there.name() == "Shop"
        await until(there.remembers)
        proxy.cut(refuse=True)
        await here.do(change("New"))
        proxy.admit()
        connection = there.log.js.connection
        await until(said(lambda: connection.generation > 1 and connection.is_connected))
        assert await seen(there.name, "New") < BEHIND_S_MAX


async def test_a_refresh_that_went_unheard_is_made_up_for(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Nobody repeats it for a process whose connection was broken just then: it forgets all by itself."""
    async with (
        directory_service() as service,
        proxy_to(nats_server.port) as proxy,
        open_log(log_config(nats_server, url=proxy.url), master_key=MASTER_KEY) as other,
    ):
        http = Service("the app service", service.url, token=TOKEN)
        service.apps["shop"] = {"code": "SHOP", "merchant": REALM, "name": "Shop"}
        async with following(Process(other, HttpApps(http, IDS))) as there:
            await until(there.remembers)
            proxy.cut(refuse=True)
            service.apps["shop"] = {"code": "SHOP", "merchant": REALM, "name": "New"}
            await Process(log).apps.refresh("SHOP")
            proxy.admit()
            connection = other.js.connection
            await until(said(lambda: connection.generation > 1 and connection.is_connected))
            assert await seen(there.name, "New") < BEHIND_S_MAX
        await http.aclose()


async def test_a_refresh_is_not_undone_by_a_slow_look(here: Process) -> None:
    """What was read before the refresh does not come into the bucket after it."""
    await here.do(register())
    id = IDS.app("SHOP")
    found = await here.shared.find(id)
    await here.apps.refresh("SHOP")
    await here.shared.put(AppFacts(id, "SHOP", AppSettings(merchant=REALM, name="Old")), found)
    assert (await here.shared.find(id)).facts is None


async def test_an_entry_of_another_version_is_passed_over(here: Process, log: JetStreamLog) -> None:
    """While processes of two versions run side by side, each reads what it understands."""
    await here.do(register())
    await log.js.connection.ask(f"$KV.APPS.{IDS.app('SHOP').hex}", b'{"as_of": "of another form"}')
    assert await here.name() == "Shop"


async def test_the_hit_rate_is_on_metrics(here: Process) -> None:
    """Looks by what answered them: one at the source, the others from memory."""
    registry = CollectorRegistry()
    registry.register(here.apps.lookups)
    await here.do_and_hear(register())
    before = here.count(Level.MEMORY)
    await until(here.remembers)
    for _ in range(9):
        await here.name()
    text = generate_latest(registry).decode()
    assert f'msgxc_app_lookups_total{{level="memory"}} {before + 10:.1f}' in text
    assert 'level="source"' in text


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["change", "look here", "look there"]), min_size=1, max_size=15))
async def test_nobody_goes_back_in_time(here: Process, nats_server: NatsServer, steps: list[str]) -> None:
    """However changes and looks fall: no process sees an older state after a newer, and all end with the newest."""
    code = f"APP-{secrets.token_hex(4)}"
    await here.do(register("0", code))
    newest = 0
    async with another(nats_server) as there:
        last = {"look here": 0, "look there": 0}
        for step in steps:
            if step == "change":
                newest += 1
                named = AppSettings(merchant=REALM, name=str(newest))
                await here.do(ChangeApp(code=code, settings=named))
                continue
            process = here if step == "look here" else there
            now = int(await process.name(code) or 0)
            assert last[step] <= now <= newest
            last[step] = now
        for process in (here, there):
            assert await seen(lambda each=process: each.name(code), str(newest)) < BEHIND_S_MAX  # type: ignore[misc]
