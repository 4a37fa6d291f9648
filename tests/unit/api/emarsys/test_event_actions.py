"""What an app's event actions lead to: an answer that the SDK can read, and a message to whoever has the device."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from commands.apps import ChangeApp
from domain.app import App
from domain.app_settings import AppSettings
from domain.context import Context
from domain.devices.event_action import EventAction
from domain.errors import TooLarge
from domain.message import Content
from domain.recorded import EVENTS, TRIAGE
from tests.memory.phone import ANN, APP, phones, started
from tests.memory.site import Site
from tests.memory.world import IDS, REALM
from tests.replays.sdks import answers_v4
from tests.unit.api.emarsys.test_device_events import AT, event, tell

ACTION = {"type": "MEAppEvent", "name": "celebrate", "payload": {"n": "1"}}


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones() as made:
        made.world.start("triggers")
        yield made


async def lead_to(it: Site, *actions: EventAction) -> None:
    settings = AppSettings(merchant=REALM, default_contact_field=3, event_actions=actions)
    await it.world.do(ChangeApp(code=APP, settings=settings))


async def had_before(it: Site, *actions: EventAction) -> None:
    """Settings that went onto the log before they would have been refused."""
    store = it.world.own.store
    app = await store.load(App, IDS.app(APP), fresh=True)
    assert app is not None
    settings = AppSettings(merchant=REALM, default_contact_field=3, event_actions=actions)
    app.trigger_event(App.Changed, timestamp=it.world.clock(), code=APP, settings=settings)
    await store.save(app, context=Context(REALM, "boss"))


async def test_actions_of_the_settings_come_back(it: Site) -> None:
    """Native SDKs get the first that matches, generation 4 all of them; another event gets none."""
    await lead_to(
        it,
        EventAction(event="bought", campaign_id="c1", actions=(ACTION,)),
        EventAction(event="bought", type="internal", campaign_id="c2", actions=(ACTION,)),
        EventAction(event="sold", campaign_id="c3", actions=(ACTION,)),
    )
    phone = await started(it)
    got = await tell(phone, event("bought"), event("sold"))
    assert got.json() == {"onEventAction": {"campaignId": "c1", "actions": [ACTION]}}
    got = await tell(phone, event("sold"), event("bought"), base="/v5/apps")
    assert [each["trackingInfo"] for each in got.json()["actionCampaigns"]] == ["c3", "c1"]
    assert (await tell(phone, event("other"))).status_code == 204


async def test_below_v3_what_was_told_of_a_campaign_need_not_be_told_again(it: Site) -> None:
    """A native SDK of v3 tells it with every request until an answer calls the campaign old
    (InAppCleanUpResponseHandler.kt at 3.11.0); one of v4 forgets it by itself (InAppCleanUpResponseHandlerV4.kt).
    """
    await lead_to(it, EventAction(event="bought", campaign_id="c1", actions=(ACTION,)))
    phone = await started(it)
    view: dict[str, Any] = {"campaignId": "c1", "timestamp": AT}
    more: dict[str, Any] = {
        "viewedMessages": [view, view],
        "clicks": [{**view, "campaignId": "c2", "buttonId": "b"}],
    }
    old = {"oldCampaigns": ["c1", "c2"]}
    for base in ("/v3/apps", "/v3/domains"):
        assert (await tell(phone, event("other"), base=base, **more)).json() == old
        got = (await tell(phone, event("bought"), base=base, **more)).json()
        assert got == {"onEventAction": {"campaignId": "c1", "actions": [ACTION]}, **old}
        assert (await tell(phone, event("other"), base=base)).status_code == 204
    assert (await tell(phone, event("other"), **more)).status_code == 204


async def test_an_answer_does_not_grow_with_the_request(it: Site) -> None:
    """Thousands of events that lead to the same have it once: a small request would make an answer of gigabytes."""
    actions = [EventAction(event=name, campaign_id=name, actions=(ACTION,)) for name in ("a", "b")]
    await lead_to(it, *actions)
    got = await tell(await started(it), *[event("b"), event("a")] * 1_000, base="/v5/apps")
    assert [each["trackingInfo"] for each in got.json()["actionCampaigns"]] == ["b", "a"]


async def test_an_action_that_v5_cannot_read_is_left_out_of_its_answer(it: Site) -> None:
    """The SDK would drop the answer and its events with it. Native SDKs pass such an action over themselves."""
    bad: tuple[dict[str, Any], ...] = ({"type": "Frobnicate"}, {"type": "MEAppEvent"})
    badge = {"type": "BadgeCount", "method": "SET", "value": 0}
    await had_before(
        it,
        EventAction(event="bought", campaign_id="c1", actions=(*bad, badge)),
        EventAction(event="bought", campaign_id="c2", actions=(*bad, ACTION)),
    )
    phone = await started(it)
    got = answers_v4.read_events((await tell(phone, event("bought"), base="/v5/apps")).json())
    assert got["actionCampaigns"] == [{"trackingInfo": "c2", "actions": [ACTION]}]
    got = (await tell(phone, event("bought"))).json()
    assert got == {"onEventAction": {"campaignId": "c1", "actions": [*bad, badge]}}


async def test_a_fence_that_was_entered_sends_a_message(it: Site) -> None:
    """Its trigger's MECustomEvent makes the device report an event, and that leads to a message: once a signal."""
    await lead_to(
        it, EventAction(event="near shop", campaign_id="c1", message={"msg": "Come in!", "title": "Shop"})
    )
    phone = await started(it)
    await tell(phone, event("near shop"), event("near shop"), event("elsewhere"))
    await it.world.quiet()
    [made] = [fact.body for fact in it.world.facts(EVENTS, "evt.message.>") if "accepted" in fact.topic]
    assert (made.content.text, made.content.subject, made.app) == ("Come in!", "Shop", APP)  # type: ignore[union-attr]
    assert [str(each) for each in made.audience.contacts] == [str(UUID(phone.says["contactReference"]))]  # type: ignore[union-attr]


async def test_a_message_that_cannot_be_sent_holds_up_no_other(it: Site) -> None:
    """Settings of before such were refused: the good messages go out, before the bad ones and after them."""
    await had_before(
        it,
        EventAction(event="near shop", campaign_id="c1", message={"msg": "One"}),
        EventAction(event="near shop", campaign_id="c2", message={"foo": 1}),
        EventAction(event="near shop", campaign_id="c3", message={"msg": "m", "opts": {"ttl": "5"}}),
        EventAction(event="near shop", campaign_id="c4", message={"msg": "Two"}),
    )
    phone = await started(it)
    await tell(phone, event("near shop"))
    await it.world.quiet()
    assert texts_of_messages(it) == ["One", "Two"]
    assert it.world.facts(TRIAGE) == []


async def test_a_message_that_is_refused_holds_up_no_other(it: Site) -> None:
    """What cannot be made is in TRIAGE, with the reason; the others of the signal are made."""
    await lead_to(
        it,
        EventAction(event="near shop", campaign_id="c1", message={"msg": "much too long"}),
        EventAction(event="near shop", campaign_id="c2", message={"msg": "Two"}),
    )

    def check(content: Content, channels: object, *, style: str = "") -> None:
        if content.text == "much too long":
            raise TooLarge(content.text)

    [running] = [each for each in it.world.running if each.role == "triggers"]
    await it.world.stop(running)
    it.world.check = check
    it.world.start("triggers")
    phone = await started(it)
    await tell(phone, event("near shop"))
    await it.world.quiet()
    assert texts_of_messages(it) == ["Two"]
    assert await it.world.own.log.triaged("triggers") != {}


def texts_of_messages(it: Site) -> list[str]:
    facts = [fact for fact in it.world.facts(EVENTS) if fact.topic.startswith("message.accepted")]
    return [fact.body.content.text for fact in facts]  # type: ignore[union-attr]


async def test_who_had_the_device_before_is_not_written_to(it: Site) -> None:
    """A client state, and for some hours a contact token, outlive the sign-out; whoever has them sends nothing."""
    await lead_to(it, EventAction(event="near shop", campaign_id="c1", message={"msg": "Come in!"}))
    phone = await started(it)
    former = phone.state, phone.contact_token
    await phone.call("POST", "/client/contact", ANN)
    phone.state, phone.contact_token = former
    assert (await tell(phone, event("near shop"))).status_code == 204
    phone.contact_token = ""
    assert (await tell(phone, event("near shop"))).status_code == 204
    await it.world.quiet()
    assert it.world.facts(EVENTS, "evt.message.>") == []


async def test_a_signal_that_is_dealt_with_again_sends_nothing_again(it: Site) -> None:
    """The device's own event is the claim."""
    await lead_to(it, EventAction(event="near shop", campaign_id="c1", message={"msg": "Come in!"}))
    phone = await started(it)
    await tell(phone, event("near shop"))
    await it.world.quiet()
    it.world.streams.durables.pop("triggers")
    [running] = [each for each in it.world.running if each.role == "triggers"]
    await it.world.stop(running)
    it.world.start("triggers")
    await it.world.quiet()
    assert len([fact for fact in it.world.facts(EVENTS) if fact.topic.startswith("message.accepted")]) == 1


async def test_a_request_that_is_sent_again_sends_no_message_again(it: Site) -> None:
    """Its answer was lost, so the SDK sends it unchanged, or joined with what happened since: a new event is one,
    though, and so is the same at another time, in another session, or with other attributes.
    """
    await lead_to(
        it,
        EventAction(event="near shop", campaign_id="c1", message={"msg": "Come in!"}),
        EventAction(event="near shop", campaign_id="c1", message={"msg": "Bring a friend!"}),
    )
    phone = await started(it)
    first = {**event("near shop", shop="1"), "sessionId": "s1"}

    async def messages_after(*events: dict[str, Any]) -> int:
        assert (await tell(phone, *events)).status_code == 204
        await it.world.quiet()
        accepted = [fact for fact in it.world.facts(EVENTS) if fact.topic.startswith("message.accepted")]
        assert len({fact.body.content.text for fact in accepted}) == 2  # type: ignore[union-attr]
        return len(accepted)

    assert await messages_after(first) == 2
    assert await messages_after(first) == 2
    assert await messages_after(first, event("elsewhere")) == 2
    later = {**first, "timestamp": "2026-01-02T03:04:05.679Z"}
    assert await messages_after(first, later) == 4
    assert await messages_after(first, later) == 4
    assert await messages_after({**first, "sessionId": "s2"}) == 6
    assert await messages_after({**first, "attributes": {"shop": "2"}}) == 8
    other = await started(it, client_id="device-2")
    assert (await tell(other, first)).status_code == 204
    await it.world.quiet()
    assert len({fact.subject for fact in it.world.facts(EVENTS, "evt.message.>")}) == 10
