"""Apps whose source is away, is slow or cannot be read: what was known is there all the while."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from domain.errors import Unavailable
from infra.apps.directory import KNOWN_S, UNKNOWN_S
from infra.apps.lookups import Level
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.breaker import FAILURES_MAX
from infra.emarsys_http.service import Service
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.nats.streams import APPS_STREAM
from tests.fixtures.directory_service import TOKEN, directory_service
from tests.fixtures.nats import MASTER_KEY, log_config
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


async def test_a_source_that_is_away_has_said_enough_yesterday(here: Process, log: JetStreamLog) -> None:
    """What was remembered serves on, beyond its time, and few calls of devices wait for the source; of other apps it is
    said that it is away.
    """
    await here.do_and_hear(register())
    await until(here.remembers)
    await log.js.api(f"STREAM.PURGE.{APPS_STREAM}")
    here.source.away = True
    here.clock.now_s += KNOWN_S + 1
    for times in (1, 2):
        for _ in range(20):
            assert await here.name() == "Shop"
        assert (here.count(Level.OUTDATED), here.source.asked) == (times, 1 + times)
        here.clock.now_s += UNKNOWN_S + 1
    with pytest.raises(Unavailable):
        await here.name("OTHER")
    here.source.away = False
    await here.do(change("New"))
    assert await seen(here.name, "New") < BEHIND_S_MAX


async def test_one_caller_waits_for_a_source_that_is_away(here: Process, log: JetStreamLog) -> None:
    """Once it has not answered: whoever else asks meanwhile has at once what was known before."""
    await here.do_and_hear(register())
    await until(here.remembers)
    await log.js.api(f"STREAM.PURGE.{APPS_STREAM}")
    here.source.away, here.clock.now_s = True, here.clock.now_s + KNOWN_S + 1
    assert await here.name() == "Shop"
    here.source.away, here.source.held = False, asyncio.Event()
    here.clock.now_s += UNKNOWN_S + 1
    waits = asyncio.create_task(here.name())
    await until(said(lambda: here.source.asked == 3))
    assert [await here.name() for _ in range(20)] == ["Shop"] * 20
    assert not waits.done()
    here.source.held.set()
    assert await waits == "Shop"


async def test_an_app_of_another_service_can_be_refreshed(log: JetStreamLog, nats_server: NatsServer) -> None:
    """It sends no events: after a refresh every process asks it anew, within a second."""
    async with (
        directory_service() as service,
        open_log(log_config(nats_server), master_key=MASTER_KEY) as other,
    ):
        http = Service("the app service", service.url, token=TOKEN)
        service.apps["shop"] = {"code": "SHOP", "merchant": REALM, "name": "Shop"}
        async with (
            following(Process(log, HttpApps(http, IDS))) as here,
            following(Process(other, HttpApps(http, IDS))) as there,
        ):
            assert (await here.name(), await there.name()) == ("Shop", "Shop")
            assert there.source.asked == 0
            service.apps["shop"] = {"code": "SHOP", "merchant": REALM, "name": "New"}
            assert (await here.name(), await there.name()) == ("Shop", "Shop")
            await here.apps.refresh("shop")
            assert await here.name() == "New"
            assert await seen(there.name, "New") < BEHIND_S_MAX
        await http.aclose()


async def test_an_app_that_cannot_be_read_is_asked_for_now_and_then(log: JetStreamLog) -> None:
    """Its devices are told that nobody can say for now, from memory, and who runs it reads once why. What was known
    before holds; and what is mended is seen after half a minute, or a refresh.
    """
    good = {"code": "SHOP", "merchant": REALM, "name": "Shop"}
    bad = {**good, "rate_limits": {"client_per_minute": 0}}
    async with directory_service() as service:
        http = Service("the app service", service.url, token=TOKEN)
        async with following(Process(log, HttpApps(http, IDS))) as here:
            service.apps["shop"] = bad
            with capture_logs() as logs:
                for _ in range(3):
                    for _ in range(20):
                        with pytest.raises(Unavailable, match="client_per_minute"):
                            await here.name()
                    here.clock.now_s += UNKNOWN_S + 1
            assert here.source.asked == 3
            assert [each["app"] for each in logs if each["event"] == "app-unreadable"] == ["SHOP"]
            service.apps["shop"] = good
            assert await here.name() == "Shop"
            service.apps["shop"] = bad
            await log.js.api(f"STREAM.PURGE.{APPS_STREAM}")
            here.clock.now_s += KNOWN_S + 1
            for _ in range(20):
                assert await here.name() == "Shop"
            assert here.source.asked == 5
        await http.aclose()


async def test_what_the_source_has_said_is_a_day_old_at_most(
    here: Process, log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Not a day old in the bucket, and then another one in the memory of who finds it there."""
    await here.do(register())
    assert await here.name() == "Shop"
    async with another(nats_server) as there:
        there.wall_s += KNOWN_S - 3_600
        assert await there.name() == "Shop"
        assert await there.remembers()
        assert there.source.asked == 0
        for passed_s, asked in ((3_000, 0), (700, 1)):
            there.clock.now_s += passed_s
            there.wall_s += passed_s
            assert await there.name() == "Shop"
            assert there.source.asked == asked
        assert await there.remembers()


async def test_an_app_whose_event_action_is_faulty_is_known(log: JetStreamLog) -> None:
    """A service may know no such bound, and the log has settings of before it: who looks it up is warned, naming the
    place, and who reads the settings passes the faulty one over.
    """
    good, bad = ({"event": "e", "campaign_id": "7", "message": each} for each in ({"msg": "m"}, {"foo": 1}))
    async with directory_service() as service:
        http = Service("the app service", service.url, token=TOKEN)
        service.apps["shop"] = {"code": "SHOP", "merchant": REALM, "event_actions": [good, bad]}
        async with following(Process(log, HttpApps(http, IDS))) as here:
            with capture_logs() as logs:
                facts = await here.apps.app("SHOP")
                assert await here.remembers()
        await http.aclose()
    assert facts is not None
    assert [each.message for each in facts.settings.event_actions] == [{"msg": "m"}, {"foo": 1}]
    [warned] = [each for each in logs if each["event"] == "event-action-passed-over"]
    assert (warned["app"], warned["field"]) == ("SHOP", "event_actions[1].message.msg")


async def test_two_processes_while_the_service_of_apps_hangs(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """What one has asked the other has from the bucket, for a day, and asks nobody; of an app that was never asked for
    it is said that nobody knows, soon at once; who would have it asked for anew is told so, and both keep what they
    have. Once the service is back, so are they.
    """
    async with (
        directory_service() as service,
        open_log(log_config(nats_server), master_key=MASTER_KEY) as other,
    ):
        for code in ("shop", "other"):
            service.apps[code] = {"code": code.upper(), "merchant": REALM, "name": "Shop"}
        http = [Service("the app service", service.url, token=TOKEN, answer_s=0.5) for _ in range(2)]
        here = Process(log, HttpApps(http[0], IDS))
        there = Process(other, HttpApps(http[1], IDS))
        async with following(here), following(there):
            assert await here.name() == "Shop"
            service.behaviour = "hangs"
            there.wall_s += KNOWN_S - 60
            assert (await there.name(), there.count(Level.SHARED), there.source.asked) == ("Shop", 1, 0)
            for _ in range(FAILURES_MAX):
                with pytest.raises(Unavailable, match="the app service"):
                    await there.name("OTHER")
            began_s = time.monotonic()
            for _ in range(20):
                with pytest.raises(Unavailable, match="the app service"):
                    await there.name("OTHER")
            assert time.monotonic() - began_s < 1.0
            service.apps["shop"] = {"code": "SHOP", "merchant": REALM, "name": "New"}
            with pytest.raises(Unavailable, match="the app service"):
                await here.apps.refresh("SHOP")
            for _ in range(2):
                assert [await each.name() for each in (here, there)] == ["Shop", "Shop"]
                here.apps._forget_all()
                there.apps._forget_all()
            service.behaviour = "answers"
            await here.apps.refresh("SHOP")
            for process in (here, there):
                assert await seen(process.name, "New") < BEHIND_S_MAX
        for each in http:
            await each.aclose()
