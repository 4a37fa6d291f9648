"""The stock Android SDK itself, on a JVM, with an exchange where Emarsys' hosts are: every answer is one it expects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.served import Served
from tests.replays.sdks import pushes
from tests.replays.sdks.devices import FIELD, claims
from tests.replays.served_place import at, device_events
from tests.replays.stock import NoStockSdkError, until
from tests.replays.stock_android.jars import FETCH_S_MAX, Stock, stock
from tests.replays.stock_android.phone import SdkError
from tests.replays.stock_android.stage import Stage, stage
from tests.replays.test_life import CAMPAIGN, ID_TOKEN, run_out

pytestmark = [pytest.mark.long, pytest.mark.timeout(FETCH_S_MAX + 300)]


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    try:
        return stock(tmp_path_factory.mktemp("classes"))
    except NoStockSdkError as missing:
        pytest.skip(f"NOT RUN, there is no stock Android SDK: {missing}")


@asynccontextmanager
async def staged(exchange: Served, sdk: Stock, folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """settings: of the app."""
    async with at(exchange, **settings) as place, stage(place, sdk, folder) as one:
        yield one


async def test_the_workflow_of_the_guides(exchange: Served, sdk: Stock, tmp_path: Path) -> None:
    """First start, sign in, push token, events, sign out, sign in by an id token: no call is refused, dropped or sent
    twice, and the log has the device's events in their order.
    """
    async with staged(exchange, sdk, tmp_path, open_id_trusted=True) as scene:
        async with scene.life() as phone:
            await scene.started(phone)
            assert not scene.state()["contactField"]
            await phone.call("set_contact", FIELD, "zoë@пример.рф")
            assert scene.state()["contactField"]["contactFieldValue"] == "zoë@пример.рф"
            await phone.call("set_push_token", "the-token")
            assert scene.state()["pushToken"]
            await phone.call("track", "bought")
            await phone.call("clear_push_token")
            assert not scene.state().get("pushToken")
            await phone.call("clear_contact")
            assert not scene.state()["contactField"]
            await phone.call("set_authenticated_contact", FIELD, ID_TOKEN)
            assert scene.state()["contactField"]
            await phone.call("close")
            await until(lambda: scene.network.events_sent()[-1] == "session:end")
        scene.assert_unsurprised()
        story = await scene.place.story_of(scene.state()["client"])
        assert device_events(story) == scene.network.events_sent()
        assert "bought" in device_events(story)


async def test_a_second_start_and_a_token_that_ran_out(exchange: Served, sdk: Stock, tmp_path: Path) -> None:
    """Who is signed in stays it, without a word; a contact token that ran out costs one refresh and no event, and the
    push token, which the SDK forgets then, is told anew by the next start.
    """
    async with staged(exchange, sdk, tmp_path) as scene:
        async with scene.life() as phone:
            await scene.started(phone)
            await phone.call("set_contact", FIELD, "ann@example.com")
            await phone.call("set_push_token", "the-token")
        scene.calls.clear()
        async with scene.life() as phone:
            await scene.started(phone)
            assert {call.path.rpartition("/")[2] for call in scene.calls} == {"events"}
            held = scene.calls[-1].headers["x-contact-token"]
            scene.network.swapped[held] = run_out(exchange, claims(held))
            await phone.call("track", "bought")
            refused, refresh, again = scene.calls[-3:]
            assert (refused.status, refresh.path.rpartition("/")[2]) == (401, "contact-token")
            assert (refused.body, again.status) == (again.body, 204)
            scene.network.excuse(refused)
        told = len(scene.calls)
        async with scene.life() as phone:
            await phone.call("setup", scene.place.app)
            await until(lambda: len(scene.calls) > told)
            assert scene.network.sent("PUT", "/push-token")[-1].body == {"pushToken": "the-token"}
        assert len(scene.network.sent("POST", "/contact-token")) == 1
        scene.assert_unsurprised()


async def test_events_of_a_time_without_the_exchange_come_all_and_once(
    mortal: Served, sdk: Stock, tmp_path: Path
) -> None:
    """Killed under the phone, they wait, some of them through the app's own end; once it is back they are on the log,
    in their order, and none of the callbacks was an error.
    """
    async with staged(mortal, sdk, tmp_path) as scene:
        async with scene.life() as phone:
            await scene.started(phone)
            await phone.call("set_contact", FIELD, "ann@example.com")
            await phone.call("track", "before")
            mortal.kill()
            await phone.begin("track", "one")
            await phone.begin("track", "two")
            await until(lambda: scene.calls[-1].status is None)
        async with scene.life() as phone:
            await phone.call("setup", scene.place.app)
            waiting = await phone.begin("track", "three")
            await asyncio.to_thread(mortal.start)
            await phone.call("track", "four")
            await waiting
        for call in scene.calls:
            if call.status is None:
                scene.network.excuse(call)
        scene.assert_unsurprised()
        numbered = {"one", "two", "three", "four"}
        sent = [name for name in scene.network.events_sent() if name in numbered]
        assert sent == ["one", "two", "three", "four"]
    async with at(mortal) as place:  # the log was away under the former
        story = await place.story_of(scene.state()["client"])
        assert [name for name in device_events(story) if name in numbered] == sent


async def test_what_an_app_sends_is_shown_tagged_and_clicked(
    exchange: Served, sdk: Stock, tmp_path: Path
) -> None:
    """A push is shown and its tap becomes the receipt; the inbox has it and takes tags; a campaign's action, an in-line
    message and geofences reach the app.
    """
    async with staged(exchange, sdk, tmp_path, event_actions=[CAMPAIGN]) as scene, scene.life() as phone:
        await scene.started(phone)
        await phone.call("set_contact", FIELD, "ann@example.com")
        token = pushes.device_token(exchange, "android")
        await phone.call("set_push_token", token)
        inline = {"viewId": "home", "html": "<p>Hello</p>"}
        message = pushes.send(exchange, scene.place.app, subject="Sale", msg="Today", opts={"inline": inline})
        assert await phone.call("push", await pushes.payload_at(exchange, token)) is True
        assert await phone.call("notifications") == [["Sale", "Today"]]
        await phone.call("tap")
        assert await pushes.was_clicked(exchange, message)

        [item] = await phone.call("inbox")
        assert (item["title"], item["tags"]) == ("Sale", [])
        await phone.call("add_tag", "SEEN", item["id"])

        async def tags() -> Any:
            [found] = await phone.call("inbox")
            return found["tags"]

        assert await pushes.until(tags) == ["seen"]
        await phone.call("remove_tag", "seen", item["id"])
        assert scene.network.events_sent()[-1] == "inbox:tag:remove"

        await phone.call("track", "bought")
        await until(lambda: phone.events == ["thank-you"])
        await until(lambda: "inapp:viewed" in scene.network.events_sent())
        await phone.call("inline", "home")

        async def html() -> Any:
            return await phone.call("inline_html")

        assert await pushes.until(html) == "<p>Hello</p>"
        with pytest.raises(SdkError, match="LocationServices"):  # there are none on a JVM
            await phone.call("enable_geofences")
        assert await phone.call("geofence_groups") == ["g1"]
        scene.assert_unsurprised()


async def test_a_switch_of_apps_takes_the_push_token_along(
    exchange: Served, sdk: Stock, tmp_path: Path
) -> None:
    """The new app has it, and the person is signed out. The SDK may begin a session of the former app when it has let
    go of its tokens: that event alone may be refused, since nothing says whose it is.
    """
    async with staged(exchange, sdk, tmp_path) as scene, scene.life() as phone:
        await scene.started(phone)
        await phone.call("set_contact", FIELD, "ann@example.com")
        await phone.call("set_push_token", "the-token")
        await phone.call("change_application_code", scene.place.other)
        await phone.call("track", "bought")
        assert scene.network.events_sent()[-1] == "bought"
        state = scene.state()
        assert (state["applicationCode"], bool(state["pushToken"])) == (scene.place.other, True)
        for refused, refresh in zip(scene.calls, scene.calls[1:], strict=False):
            if refused.status == 401 and "x-client-state" not in refused.headers:
                assert [event["name"] for event in refused.body["events"]] == ["session:start"]
                assert refresh.body == {}
                scene.network.excuse(refused)
                scene.network.excuse(refresh)
        scene.assert_unsurprised()


async def test_an_unknown_app_is_told_to_the_developer_once(
    exchange: Served, sdk: Stock, tmp_path: Path
) -> None:
    """Each call's callback has the status and the reason; nothing is kept to be sent again."""
    async with staged(exchange, sdk, tmp_path) as scene, scene.life() as phone:
        await phone.call("setup", "no-such-app")
        await phone.call("open")
        for call in (("set_contact", FIELD, "ann@example.com"), ("track", "bought")):
            with pytest.raises(SdkError, match=r"400.*unknown-app"):
                await phone.call(*call)
        assert [call.status for call in scene.calls] == [400] * len(scene.calls)
        assert len({(call.method, call.target, str(call.body)) for call in scene.calls}) == len(scene.calls)
