"""Push tokens that went to another client: each loss is an event, once, whatever breaks; what came later stays."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from commands.clients import Enlist, FindAddressGone, LoseAddress
from commands.push_contacts import PushAddress, RegisterPushContact, push_contact_id
from commands.sdk_clients import ClearPushToken, Device, RegisterClient, SetPushToken, Standing
from commands.sdk_contacts import IdentifyContact
from domain.client import TAKEN_OVER, Client
from domain.contact import Identity
from domain.context import Context
from domain.recorded import EVENTS, Recorded
from projections import clients, reach
from tests.memory.lifeline import Fault, Lifeline
from tests.memory.people import enlist, open_thread, publish, send_to_app, subscribe
from tests.memory.ports.states import MemoryStates
from tests.memory.world import IDS, REALM, ROLES, World, world

APP = "shop-app"
ROLE = "taken-tokens"
TOKEN = "secret-token"


async def installed(made: World, name: str, *, who: str = "", token: str = TOKEN) -> Device:
    """An app on an Android device, its push token told; who: signed in on it."""
    stood: Standing = await made.do(
        RegisterClient(device=Device(app=APP, client_id=name), properties={"platform": "android"})
    )
    device = Device(app=APP, client_id=name, client=stood.client)
    if who:
        await made.do(IdentifyContact(device=device, identity=Identity(3, who)))
    await made.do(SetPushToken(device=device, token=token))
    return device


async def of(made: World, device: Device) -> Client:
    assert device.client is not None
    found = await made.own.store.load(Client, device.client, fresh=True)
    assert found is not None
    return found


def losses(made: World) -> list[Recorded]:
    return [
        fact
        for fact in made.facts(EVENTS)
        if isinstance(fact.body, Client.AddressRetired) and fact.body.code == TAKEN_OVER
    ]


async def test_who_loses_a_token_has_it_in_their_own_story() -> None:
    """An event of the older client, caused by the newer one's: its state says so, and so do the read models."""
    async with world(roles=("project-events", ROLE, "client-states")) as made:
        older = await installed(made, "older", who="ann")
        newer = await installed(made, "newer", who="bob")
        taking = made.facts(EVENTS)[-1]
        await made.quiet()
        [loss] = losses(made)
        assert isinstance(loss.body, Client.AddressRetired)
        assert loss.body.originator_id == older.client
        assert (loss.causation, loss.actor) == (f"{EVENTS}:{taking.position}", ROLE)
        assert loss.correlation == taking.correlation
        assert ((await of(made, older)).token, (await of(made, newer)).channel) == (None, "fcm")
        row = await clients.find(made.models, REALM, (await of(made, older)).id)
        assert row is not None
        assert (row["token"], row["retired"]) == (None, TAKEN_OVER)
        told = MemoryStates(made.streams).told()[-1]
        assert (told.client, told.cause) == (older.client, Client.AddressRetired.TOPIC)
        assert (told.old.channel, told.new.channel) == ("fcm", None)  # type: ignore[union-attr]
        stood: Standing = await made.do(RegisterClient(device=older, properties={"platform": "android"}))
        assert not stood.has_push_token


async def test_whoever_tells_the_token_again_has_it_again() -> None:
    """The older device's own word takes it back, and then the other one has lost it; each time is an event."""
    async with world(roles=("project-events", ROLE)) as made:
        older, newer = await installed(made, "older"), await installed(made, "newer")
        await made.quiet()
        for taker, loser in ((older, newer), (newer, older)):
            await made.do(SetPushToken(device=taker, token=TOKEN))
            await made.quiet()
            assert (await of(made, taker)).token is not None
            assert (await of(made, loser)).token is None
        assert [fact.body.originator_id for fact in losses(made)] == [  # type: ignore[union-attr]
            older.client,
            newer.client,
            older.client,
        ]


async def test_a_late_run_leaves_what_was_set_since() -> None:
    """However late or often the takings are dealt with: the newest has the token, all others lost it once."""
    async with world(roles=("project-events",)) as made:
        devices = [await installed(made, f"device-{number}") for number in range(4)]
        await made.do(ClearPushToken(device=devices[0]))
        await made.do(SetPushToken(device=devices[0], token=TOKEN))
        made.start(ROLE)
        made.start(ROLE)
        await made.quiet()
        assert [bool((await of(made, each)).token) for each in devices] == [True, False, False, False]
        assert len(losses(made)) == 3


async def test_a_loss_is_of_the_address_it_was_found_for() -> None:
    """Between the look and the command the device has told the token again: that is newer than the taking."""
    async with world(roles=()) as made:
        older = await installed(made, "older")
        before = await of(made, older)
        assert before.token is not None
        command = LoseAddress(client=before.id, token=before.token, version=before.address_version)
        await made.do(ClearPushToken(device=older))
        await made.do(command)
        await made.do(SetPushToken(device=older, token=TOKEN))
        await made.do(command)
        assert (await of(made, older)).token == before.token
        assert losses(made) == []


async def test_a_token_that_the_newest_clears_is_nobodys() -> None:
    """Ann's and Bob's apps told the same token, and Bob's cleared it: no message for Ann shows on his phone."""
    async with world("fcm", roles=ROLES) as made:
        await installed(made, "anns", who="ann")
        bobs = await installed(made, "bobs", who="bob")
        await made.do(ClearPushToken(device=bobs))
        await send_to_app(made, APP)
        await made.rest()
        assert made.provider("fcm").arrived == {}


async def test_a_token_that_is_gone_for_the_newest_is_nobodys() -> None:
    """What the provider says of the newest's token says nothing in favour of who had it before."""
    async with world(roles=("project-events",)) as made:
        anns, bobs = await installed(made, "anns"), await installed(made, "bobs")
        client = await of(made, bobs)
        made.clock.advance(1)
        gone = FindAddressGone(client=client.id, token=client.token, code="gone", since=made.clock.now)
        await made.do(gone)
        await made.quiet()
        assert client.token is not None
        pairs = [(client.token, (await of(made, each)).id) for each in (anns, bobs)]
        assert await reach.owned(made.models, REALM, pairs) == [False, False]


async def test_a_device_enlisted_by_its_token_loses_it_to_an_app_and_takes_it_back() -> None:
    """The newest registration has it, whichever contract it comes by; enlisting again is newer."""
    async with world("apns", roles=(*ROLES, ROLE)) as made:
        await open_thread(made)
        await subscribe(made, "ann", phone=True)
        stood: Standing = await made.do(
            RegisterClient(device=Device(app=APP, client_id="one"), properties={"platform": "ios"})
        )
        phone = Device(app=APP, client_id="one", client=stood.client)
        await made.do(SetPushToken(device=phone, token="t-ann"))
        await made.quiet()
        await publish(made)
        await made.rest()
        assert made.provider("apns").arrived == {}
        await enlist(made, "ann", "t-ann")
        await made.quiet()
        assert (await of(made, phone)).token is None
        await publish(made)
        await made.rest()
        assert list(made.provider("apns").arrived.values()) == [["t-ann"]]


async def test_a_token_that_changes_hands_within_a_client_is_no_loss() -> None:
    """The same device enlisted by another contact is the same client: it keeps its address."""
    async with world(roles=("project-events", ROLE)) as made:
        for uid in ("ann", "bob"):
            await made.do(Enlist(uid=uid, channel="apns", identity="t", address="t"))
        await made.quiet()
        assert losses(made) == []


async def test_push_contacts_of_web_domains_stay() -> None:
    """By their contract they are there until their site or the provider ends them; they are only not written to."""
    async with world(roles=("project-events", ROLE)) as made:
        to = PushAddress("fcm", TOKEN, TOKEN)
        for name in ("first", "second"):
            await made.do(RegisterPushContact(domain="shop.example", device_token=name, address=to))
        device = await installed(made, "app")
        await made.quiet()
        assert losses(made) == []
        token = (await of(made, device)).token
        assert token is not None
        pairs = [(token, push_contact_id(IDS, name)) for name in ("first", "second")]
        assert await reach.owned(made.models, REALM, pairs) == [False, False]


async def _run_through(life: Lifeline) -> Lifeline:
    """Three devices tell the same token, the first one again; in the end it alone has it."""
    async with world(roles=("project-events",)) as made:
        made.start(ROLE, life)
        if life.fault is Fault.PAUSE:
            made.start(ROLE)
        devices = [await installed(made, name) for name in ("one", "two", "three")]
        await made.rest()
        await made.do(SetPushToken(device=devices[0], token=TOKEN))
        await made.rest()
        life.awake.set()
        await made.rest()
        assert [bool((await of(made, each)).token) for each in devices] == [True, False, False]
        assert len(losses(made)) == 3, "each loss is one event"
        assert made.streams.aside == {}
    return life


async def test_every_loss_survives_every_fault_after_every_step() -> None:
    """Killed, paused, or left without an answer, at each of its effects."""
    steps = len((await _run_through(Lifeline())).steps)
    assert steps >= 4
    for fault in Fault:
        for at in range(1, steps + 1):
            await _run_through(Lifeline(fault, at))


Said = tuple[int, str, bool]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["", "aa11", "bb22"]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
async def test_whatever_devices_say_in_the_end_each_token_has_one_client_at_most(said: list[Said]) -> None:
    """The one that told it last, if it has said nothing else since; "": it cleared its token. Sometimes all wait."""
    async with world(roles=("project-events", ROLE)) as made:
        devices: dict[int, Device] = {}
        has: dict[int, str] = {}
        for number, token, waits in said:
            if number not in devices:
                devices[number] = await installed(made, f"device-{number}", token=f"own-{number}")
                has[number] = f"own-{number}"
            if token:
                await made.do(SetPushToken(device=devices[number], token=token))
                has = {who: what for who, what in has.items() if what != token}
                has[number] = token
            else:
                await made.do(ClearPushToken(device=devices[number]))
                has.pop(number, None)
            if waits:
                await made.quiet()
        await made.rest()
        held = {number: (await of(made, device)).address for number, device in devices.items()}
        assert {number: address for number, address in held.items() if address} == has


async def test_a_taking_is_of_one_realm() -> None:
    """Another merchant's client with the same token is not known here: no realm ends an address of another."""
    async with world(roles=("project-events", ROLE)) as made:
        ours = await installed(made, "device")
        theirs = Device(app="other-app", client_id="device")
        command = SetPushToken(device=theirs, token=TOKEN)
        stood: Standing = await made.own.bus.execute(command, Context("other", "test"))
        await made.quiet()
        assert stood.has_push_token
        assert losses(made) == []
        assert (await of(made, ours)).token is not None
