"""Services over HTTP that are left alone: what that costs those who ask meanwhile, and those it is not for."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from domain.app import AppFacts
from domain.errors import Unavailable
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.breaker import FAILURES_MAX, OPEN_S
from infra.emarsys_http.merchants import HttpMerchants
from infra.emarsys_http.service import TRIAL_S, Service
from processes.directories import MerchantSettings
from tests.fixtures.directory_service import DirectoryService
from tests.integration.directories.processes import IDS, Clock, said
from tests.integration.log.scenes import until
from tests.memory.ports.apps import Realms

ANSWER_S = 4 * TRIAL_S


async def fail(merchants: HttpMerchants, *names: str) -> None:
    for name in names:
        with pytest.raises(Unavailable):
            await merchants.settings(name)


async def trial_ends(service: Service) -> None:
    failed = service.outcomes["failed"]
    await until(said(lambda: service.outcomes["failed"] > failed))


@pytest.mark.parametrize(
    "names", [["nobody"] * FAILURES_MAX, [f"nobody-{number}" for number in range(FAILURES_MAX)]]
)
async def test_nobody_waits_for_a_trial_of_a_service_that_hangs(
    there: DirectoryService, service: Service, clock: Clock, names: list[str]
) -> None:
    """Of a merchant that was never known nothing can be said: each call of its devices hears so at once, also the one
    that was to try; the trial goes on beside it, and once it was answered the next call is.
    """
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.behaviour = "resets"
    await fail(merchants, *names)
    there.behaviour = "hangs"
    for _ in range(2):
        asked = len(there.asked)
        clock.now_s += 2 * OPEN_S
        began_s = time.monotonic()
        await fail(merchants, names[0])
        assert time.monotonic() - began_s < ANSWER_S / 2
        assert len(there.asked) == asked + 1
        await trial_ends(service)
    there.behaviour, there.merchants[names[0]] = "answers", {"default_contact_field": 3}
    clock.now_s += 2 * OPEN_S
    assert (await merchants.settings(names[0])).default_contact_field == 3


async def test_a_trial_that_nobody_waits_for_any_more_finds_the_service(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """It is slow, and alive: whoever asks next is answered, however long that takes."""
    merchants = HttpMerchants(service, Realms(), now_s=clock)
    there.behaviour = "resets"
    await fail(merchants, *(["acme"] * FAILURES_MAX))
    there.behaviour, there.held = "answers", asyncio.Event()
    clock.now_s += OPEN_S
    await fail(merchants, "acme")
    there.held.set()
    await until(said(lambda: not service.breaker.is_open))
    assert await merchants.settings("acme") == MerchantSettings(merchant="acme")


async def test_one_apps_fault_at_the_service_shuts_no_other_app(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """Its devices ask for it all the time; all other apps are in memory, until a further one is asked for."""
    there.apps["bad"] = 500
    there.apps["good"] = {"code": "GOOD", "merchant": "main"}
    apps = HttpApps(service, IDS)
    for _ in range(20):
        for _ in range(2 * FAILURES_MAX):
            with pytest.raises(Unavailable):
                await apps.app("BAD")
        clock.now_s += OPEN_S / 3
    assert len(there.asked) < 4 * FAILURES_MAX
    assert await apps.app("GOOD") is not None


async def test_faults_of_many_apps_leave_a_trial_for_others(
    there: DirectoryService, service: Service, clock: Clock
) -> None:
    """Those whose devices ask most often are those that fail: a trial is first for who has not failed."""
    bad = [f"BAD-{number}" for number in range(2 * FAILURES_MAX)]
    there.apps |= {code.casefold(): 500 for code in bad}
    there.apps["good"] = {"code": "GOOD", "merchant": "main"}
    apps = HttpApps(service, IDS)
    found: list[AppFacts | None] = []
    for second in range(100):
        for code in bad:
            with pytest.raises(Unavailable):
                await apps.app(code)
        with contextlib.suppress(Unavailable):
            found += [await apps.app("GOOD")] if second > 60 else []
        clock.now_s += 1
    # Once it was answered, it is clear whose fault it is.
    assert len(found) >= 39 - OPEN_S
    assert None not in found
