"""The stock web SDK of generation 4 itself, in a real Chromium, with an exchange where Emarsys' hosts are.

Every answer is one it expects, and it has nothing to tell its developer. Its calls end when they are stored: the tests
look at what was sent.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.served import Served
from tests.replays.sdks import pushes
from tests.replays.sdks.devices import claims
from tests.replays.served_place import at, device_events
from tests.replays.stock import NoStockSdkError, until
from tests.replays.stock_web.npm import FETCH_S_MAX, node_modules
from tests.replays.stock_web.stage import Stage, stage
from tests.replays.test_life import CAMPAIGN, ID_TOKEN, run_out

pytestmark = [pytest.mark.long, pytest.mark.timeout(FETCH_S_MAX + 180)]


@pytest.fixture(scope="session")
def sdk() -> Path:
    try:
        return node_modules()
    except NoStockSdkError as missing:
        pytest.skip(f"NOT RUN, there is no stock web SDK: {missing}")


@asynccontextmanager
async def staged(exchange: Served, sdk: Path, folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """settings: of the app."""
    async with at(exchange, "emarsys-v4", **settings) as place, stage(place, sdk, folder) as one:
        yield one


def who(scene: Stage) -> str | None:
    """Whom the client state that was answered last names."""
    field = scene.state()["contactField"]
    return field["contactFieldValue"] if field else None


async def test_the_workflow_of_the_guides(exchange: Served, sdk: Path, tmp_path: Path) -> None:
    """First start, sign in, events, sign out, sign in by an id token: no call is refused, and the log has the events in
    their order.
    """
    async with staged(exchange, sdk, tmp_path, open_id_trusted=True) as scene:
        await scene.enable(scene.place.app)
        assert who(scene) is None
        await scene.does("cloud.contact.link('zoë@пример.рф')")
        await until(lambda: who(scene) == "zoë@пример.рф")
        await scene.track("bought")
        await until(lambda: "bought" in scene.network.events_sent())
        await scene.does("cloud.contact.unlink()")
        await until(lambda: who(scene) is None)
        await scene.does(f"cloud.contact.linkAuthenticated({json.dumps(ID_TOKEN)})")
        await until(lambda: who(scene))
        await until(lambda: scene.network.events_sent()[-1] == "session:start")
        await scene.assert_unsurprised()
        story = await scene.place.story_of(scene.state()["client"])
        assert device_events(story) == scene.network.events_sent()


async def test_a_second_start_and_a_token_that_ran_out(exchange: Served, sdk: Path, tmp_path: Path) -> None:
    """Who is signed in stays it; a contact token that ran out costs one refresh and no event."""
    async with staged(exchange, sdk, tmp_path) as scene:
        await scene.enable(scene.place.app)
        await scene.does("cloud.contact.link('ann@example.com')")
        await until(lambda: who(scene) == "ann@example.com")
        client = scene.state()["client"]
        await scene.load()
        assert (who(scene), scene.state()["client"]) == ("ann@example.com", client)
        assert len(scene.network.sent("POST", "/client")) == 1
        held = scene.calls[-1].headers["ec-contact"]
        scene.network.swapped[held] = run_out(exchange, claims(held))
        await scene.track("bought")
        await until(lambda: "bought" in scene.network.events_sent())
        [refresh] = scene.network.sent("POST", "/contact-token")
        [refused] = [call for call in scene.calls if call.status == 401]
        again = [call.status for call in scene.calls if call.body == refused.body]
        assert (again, refresh.status) == ([401, 204], 200)
        scene.network.excuse(refused)
        await scene.assert_unsurprised(errors=1)


async def test_events_of_a_time_without_the_exchange_come_all(
    mortal: Served, sdk: Path, tmp_path: Path
) -> None:
    """Killed under the page, they wait, and are on the log as they were sent. (This SDK may say an event twice in one
    request, when another one is tracked at once.)
    """
    async with staged(mortal, sdk, tmp_path) as scene:
        await scene.enable(scene.place.app)
        await scene.track("before")
        await until(lambda: "before" in scene.network.events_sent())
        mortal.kill()
        await scene.track("one")
        await scene.track("two")
        await until(lambda: any(call.status is None for call in scene.network.calls))
        mortal.start()
        await until(lambda: {"one", "two"} <= set(scene.network.events_sent()))
        await scene.load()
        await scene.track("three")
        await until(lambda: "three" in scene.network.events_sent())
        sent = scene.network.events_sent()
    async with at(mortal) as place:  # the log was away under the former
        assert device_events(await place.story_of(scene.state()["client"])) == sent


async def test_what_an_exchange_tells_a_page_is_understood(
    exchange: Served, sdk: Path, tmp_path: Path
) -> None:
    """An event's actions are carried out and reported; a push token is set and given up; the inbox shows a message."""
    async with staged(exchange, sdk, tmp_path, event_actions=[CAMPAIGN]) as scene:
        place = scene.place
        await scene.enable(place.app)
        await scene.does("cloud.contact.link('ann@example.com')")
        await until(lambda: who(scene) == "ann@example.com")
        await scene.track("bought")
        await scene.told("thank-you")
        await until(lambda: "on_event:action" in scene.network.events_sent())
        subscription = pushes.subscription(exchange, place.app)
        await scene.subscribe(subscription)
        await until(lambda: scene.state()["pushToken"])
        pushes.send(exchange, place.app, subject="Sale", msg="Today")
        payload = await pushes.payload_at(exchange, subscription["endpoint"])
        assert payload["notification"]["title"] == "Sale"
        await scene.load()
        await scene.shows("Sale")
        await scene.does("cloud.push.unsubscribe()")
        await until(lambda: not scene.state().get("pushToken"))
        await scene.assert_unsurprised()


async def test_a_switch_of_apps(exchange: Served, sdk: Path, tmp_path: Path) -> None:
    """The page is a client of the other app from then on."""
    async with staged(exchange, sdk, tmp_path) as scene:
        await scene.enable(scene.place.app)
        await scene.does("cloud.contact.link('ann@example.com')")
        await until(lambda: who(scene) == "ann@example.com")
        await scene.does(f"cloud.config.changeApplicationCode({json.dumps(scene.place.other)})")
        assert await scene.does("cloud.config.getApplicationCode()") == scene.place.other.upper()
        await scene.track("bought")
        await until(lambda: "bought" in scene.network.events_sent())
        assert scene.calls[-1].path.split("/")[3] == scene.place.other.upper()
        assert scene.state()["applicationCode"] == scene.place.other
        await scene.assert_unsurprised()


async def test_an_unknown_app_is_told_to_the_developer(exchange: Served, sdk: Path, tmp_path: Path) -> None:
    """The SDK is not enabled; nothing is kept to be sent again."""
    async with staged(exchange, sdk, tmp_path) as scene:
        with pytest.raises(AssertionError, match="there is no app with this code"):
            await scene.enable("APP-00000")
        assert not await scene.does("cloud.setup.isEnabled()")
        assert {call.status for call in scene.calls} == {400}
