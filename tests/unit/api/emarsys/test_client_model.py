"""Two devices and two people, in any order, with answers lost, calls repeated, keys rotated and removed, time passing:
what a device's client state says is always the fold of that client's events, and a push token is the one's that told
it last, whoever has told it before.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import httpx
import jwt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from commands.clients import FindAddressGone
from commands.contacts import EraseContact
from domain.client import Client
from domain.contact import Contact
from domain.deliveries.channel import APNS, FCM
from domain.recorded import EVENTS
from projections import reach
from tests.memory.holdings import Holdings
from tests.memory.phone import APP, OTHER, Phone, phones
from tests.memory.ports.signing import signing_key
from tests.memory.site import Site
from tests.memory.world import REALM, Running

NUMBERS = st.sampled_from([0, 1])
FLAGS = st.booleans()
PEOPLE = st.sampled_from(["ann", "bob"])
NEEDING_PROOF = ("/client/app", "/client/events")
STARTED = {"events": [{"type": "internal", "name": "app:start", "timestamp": "2026-01-02T03:04:05Z"}]}
APPLES = "0a" * 32
TOKENS = st.sampled_from(["aa11", "bb22", APPLES])
IOS = "ios"


class Life(RuleBasedStateMachine):
    """The first device speaks v3, the second v4, with the events of v5."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = AsyncExitStack()
        self.keys = [signing_key("key-0")]

    @initialize()
    def begin(self) -> None:
        self.it = self.runner.run(self.opening())
        self.it.signing.use(*self.keys)
        self.devices = [Phone(self.it), Phone(self.it, "device-2", base="/v4/apps")]
        self.heard_all: dict[str, bool] = {}
        self.holdings = Holdings()
        self.taking: Running | None = None
        self.let_time_pass(0)

    async def opening(self) -> Site:
        it = await self.opened.enter_async_context(phones())
        it.world.start("resolver")
        it.world.start("contact-id-writer")
        it.world.start("erasure")
        return it

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()

    @rule(which=NUMBERS, version=st.integers(1, 3), lost=FLAGS, twice=FLAGS)
    def register(self, which: int, version: int, lost: bool, twice: bool) -> None:
        properties = {"platform": IOS, "applicationVersion": str(version)}
        self.call(which, "POST", "/client", properties, lost=lost, twice=twice)

    @rule(which=NUMBERS, token=TOKENS, lost=FLAGS, twice=FLAGS)
    def set_push_token(self, which: int, token: str, lost: bool, twice: bool) -> None:
        self.call(which, "PUT", "/client/push-token", {"pushToken": token}, lost=lost, twice=twice)

    @rule(which=NUMBERS, lost=FLAGS, twice=FLAGS)
    def clear_push_token(self, which: int, lost: bool, twice: bool) -> None:
        self.call(which, "DELETE", "/client/push-token", None, lost=lost, twice=twice)

    @rule(which=NUMBERS)
    def provider_calls_it_gone(self, which: int) -> None:
        if self.devices[which].state:
            self.runner.run(self.gone(UUID(self.devices[which].says["client"])))

    async def gone(self, id: UUID) -> None:
        """It is believed unless the device may have told the token since (domain/devices/renewal.py)."""
        client, now = self.fold(Client, id), self.it.world.clock.now
        await self.it.world.do(FindAddressGone(client=id, token=client.token, code="gone", since=now))
        if self.fold(Client, id).token is None:
            self.holdings.lose(id)
        await self.assert_held()

    @rule(which=NUMBERS, who=PEOPLE, lost=FLAGS, twice=FLAGS)
    def sign_in(self, which: int, who: str, lost: bool, twice: bool) -> None:
        body = {"contactFieldId": 3, "contactFieldValue": who}
        self.call(which, "POST", "/client/contact", body, lost=lost, twice=twice)

    @rule(which=NUMBERS, lost=FLAGS, twice=FLAGS)
    def sign_out(self, which: int, lost: bool, twice: bool) -> None:
        if self.devices[which].is_v4:
            self.call(which, "DELETE", "/client/contact", None, lost=lost, twice=twice)
        else:
            self.call(which, "POST", "/client/contact?anonymous=true", {}, lost=lost, twice=twice)

    @rule(lost=FLAGS, twice=FLAGS)
    def switch_app(self, lost: bool, twice: bool) -> None:
        device = self.devices[1]
        if device.state:
            there = OTHER if device.app == APP else APP
            self.call(1, "POST", "/client/app", {"to": there}, lost=lost, twice=twice and lost)

    @rule(which=NUMBERS, lost=FLAGS)
    def tell_events(self, which: int, lost: bool) -> None:
        """Of a start: the answer may have a state, with what has changed without the device. The second speaks v5."""
        if self.devices[which].state:
            self.call(which, "POST", "/client/events", STARTED, lost=lost, twice=False)

    @rule(which=NUMBERS)
    def erase_whoever_is_signed_in(self, which: int) -> None:
        """A person; who is nobody in particular is nobody to be erased."""
        if self.devices[which].state:
            self.runner.run(self.erased(UUID(self.devices[which].says["client"])))

    async def erased(self, client: UUID) -> None:
        """No device of theirs is anybody's then, nor has it a push token, and it hears so with its next answer."""
        contact = self.fold(Client, client).contact
        if contact is None or (person := self.fold(Contact, contact)).identity is None:
            return
        theirs = [each for each in self.devices if each.state and self.client_now(each).contact == contact]
        reached_by = [id for id in self.holdings.seen if self.fold(Client, id).contact == contact]
        await self.it.world.do(EraseContact(uid=person.uid))
        await self.it.settled()
        for id in reached_by:
            self.holdings.lose(id)
        for device in theirs:
            self.heard_all[device.client_id] = False
            assert self.client_now(device).contact is None

    def client_now(self, device: Phone) -> Client:
        """By where its state's client went."""
        client = self.fold(Client, UUID(device.says["client"]))
        while client.moved_to is not None:
            client = self.fold(Client, client.moved_to)
        return client

    @rule(which=NUMBERS)
    def update_the_app(self, which: int) -> None:
        """It has another application code from now on, and what it stored before."""
        device = self.devices[which]
        device.app = OTHER if device.app == APP else APP

    @rule(which=NUMBERS)
    def refresh(self, which: int) -> None:
        if self.devices[which].refresh_token:
            self.runner.run(self.refreshed(self.devices[which]))

    @rule()
    def rotate_keys(self) -> None:
        self.keys = [signing_key(f"key-{len(self.keys)}"), *self.keys]
        self.it.signing.use(*self.keys)

    @rule()
    def remove_old_keys(self) -> None:
        self.it.signing.use(self.keys[0])

    @rule(seconds=st.sampled_from([1, 60, 3_600, 9 * 3_600]))
    def let_time_pass(self, seconds: int) -> None:
        """Until all that follows is on the log, losses too."""
        self.it.world.clock.advance(seconds)
        self.runner.run(self.settled())
        for id in self.holdings.seen:
            client = self.fold(Client, id)
            told = self.holdings.of.get(id, (None, None))
            assert (client.channel, client.address) == told

    async def settled(self) -> None:
        self.taking = self.taking or self.it.world.start("taken-tokens")
        await self.it.settled()

    @rule()
    def nobody_tells_losses(self) -> None:
        """From now on, until time passes."""
        if self.taking is not None:
            self.runner.run(self.it.world.stop(self.taking))
            self.taking = None

    @invariant()
    def what_devices_hold_was_so(self) -> None:
        """Nothing failed that a device could not expect (see `call`), and no process broke."""
        self.it.world.assert_running()

    @invariant()
    def what_devices_hold_is_so(self) -> None:
        """After every step, of each device that heard the last answer: but for what others may have changed since, its
        push token and its contact's number.
        """
        for device in self.devices:
            if device.state and self.heard_all.get(device.client_id):
                self.assert_own_folded(device)

    def call(self, which: int, method: str, path: str, body: Any, *, lost: bool, twice: bool) -> None:
        for _ in range(1 + twice):
            self.runner.run(self.called(self.devices[which], method, path, body, lost=lost))

    async def called(self, device: Phone, method: str, path: str, body: Any, *, lost: bool) -> None:
        """As an SDK does it: after a 401, refresh and send it again; without any state, as a new device."""
        held = device.state, device.contact_token, device.refresh_token
        contact = self.contact_before_an_update(device)
        since = await self.end()
        got = await self.sent(device, method, path, body)
        if got.status_code == 401:
            contact = None
            await self.refreshed(device)
            held = device.state, device.contact_token, device.refresh_token
            since = await self.end()
            got = await self.sent(device, method, path, body)
        assert got.status_code in (200, 204) or (path in NEEDING_PROOF and not held[0]), got.text
        if got.status_code < 300 and not device.state:
            assert (method, path) == ("DELETE", "/client/push-token"), (
                "who has proved nothing has nothing to clear"
            )
        elif got.status_code < 300:
            # What a device never hears is as true as what it does.
            self.assert_folded(device, since)
            self.assert_done(device, method, path, body)
            if contact is not None and path in ("/client", "/client/push-token"):
                assert device.says["contactReference"] == contact.hex
            self.heard_all[device.client_id] = not lost
        if lost:
            device.state, device.contact_token, device.refresh_token = held
        elif got.status_code < 300 and path == "/client/app":
            device.app = str(body["to"])
        await self.assert_held()

    async def end(self) -> int:
        return await self.it.world.own.log.end(EVENTS)

    async def sent(self, device: Phone, method: str, path: str, body: Any) -> httpx.Response:
        """With what it does to who has which push token, whether or not the answer arrives."""
        before = UUID(device.says["client"]) if device.state else None
        at = "/v5/apps" if device.is_v4 and path == "/client/events" else None
        got = await device.call(method, path, body, at=at)
        if not device.state:
            return got
        client = UUID(device.says["client"])
        self.holdings.seen.add(client)
        # A refresh moves nobody: it says where a device is, which may have told its former app a token since.
        for source, to in self.moves(before, client) if path != "/client/contact-token" else ():
            self.holdings.move(source, to)
        if got.status_code < 300:
            self.follow(client, method, path, body)
        return got

    def moves(self, source: UUID | None, end: UUID) -> list[tuple[UUID, UUID]]:
        """By which steps `source` went on as `end`; none, if the device is new, or goes on as it is."""
        steps: list[tuple[UUID, UUID]] = []
        while source is not None and source != end:
            to = self.fold(Client, source).moved_to
            steps += [(source, to)] if to is not None else []
            source = to
        return steps if source == end else []

    def follow(self, client: UUID, method: str, path: str, body: Any) -> None:
        match method, path:
            case "PUT", "/client/push-token":
                token = body["pushToken"]
                is_apples = token == APPLES or self.fold(Client, client).properties.get("platform") == IOS
                self.holdings.tell(client, APNS if is_apples else FCM, token)
            case "DELETE", "/client/push-token":
                self.holdings.lose(client)
            case "POST", "/client" if client in self.holdings.of:
                self.holdings.tell(client, APNS, self.holdings.of[client][1])
            case _:
                return

    async def assert_held(self) -> None:
        """Nobody is sent to by a token that another has told since, though the loss be on the log or not."""
        world = self.it.world
        await world.watermark.passed(("reach",), EVENTS, await self.end())
        for id in self.holdings.seen:
            token = self.fold(Client, id).token
            assert id not in self.holdings.of or token is not None
            if token is not None:
                assert await reach.owned(world.models, REALM, [(token, id)]) == [id in self.holdings.of]

    def contact_before_an_update(self, device: Phone) -> UUID | None:
        """Who uses a device whose state is of the app that it was before; None: it has moved already, or has not, or
        the key of its state is gone, without which it is a new device there.
        """
        if not device.state or device.says["applicationCode"] == device.app:
            return None
        if jwt.get_unverified_header(device.state)["kid"] not in {
            key.kid for key in self.it.signing.current().verifying
        }:
            return None
        return self.fold(Client, UUID(device.says["client"])).contact

    def assert_done(self, device: Phone, method: str, path: str, body: Any) -> None:
        """The call had its effect."""
        says = device.says
        match path:
            case "/client":
                assert says["properties"] == body
            case "/client/push-token":
                assert says.get("pushToken", False) == (method == "PUT")
            case "/client/contact" if method == "POST":
                assert says["contactField"]["contactFieldValue"] == body["contactFieldValue"]
            case "/client/app":
                assert says["applicationCode"] == body["to"]
            case "/client/events":
                pass  # is a signal, not the client's
            case _:
                assert says["contactField"] is None

    async def refreshed(self, device: Phone) -> None:
        body = {"refreshToken": device.refresh_token}
        since = await self.end()
        got = await self.sent(device, "POST", "/client/contact-token", body)
        if got.status_code == 200:
            self.assert_folded(device, since)
            self.heard_all[device.client_id] = True
        else:
            # It was superseded long ago, by an answer that was lost. The next sign-in mends it.
            assert got.status_code == 400
            device.contact_token = ""

    def assert_folded(self, device: Phone, since: int) -> None:
        """since: position before the call. A token may have been lost to another client since it was dealt with."""
        says, (client, contact) = device.says, self.assert_own_folded(device)
        assert says.get("pushToken", False) in self.had_token(client.id, since)
        if client.contact_id is not None:
            assert says["contactId"] == client.contact_id
        assert says.get("contactId") in (None, contact.contact_id if contact else None)

    def assert_own_folded(self, device: Phone) -> tuple[Client, Contact | None]:
        """What nobody but the device changes."""
        says = device.says
        client = self.fold(Client, UUID(says["client"]))
        contact = self.fold(Contact, client.contact) if client.contact is not None else None
        assert (says["clientId"], says["applicationCode"]) == (client.client_id, client.app)
        assert says.get("properties", {}) == client.properties
        assert says.get("contactReference") == (client.contact.hex if client.contact else None)
        named = says.get("contactField", "nobody")
        if contact is None:
            assert named == "nobody"
        elif contact.identity is None:
            assert named is None
        else:
            assert (named["contactFieldId"], named["contactFieldValue"]) == contact.identity[:2]
        return client, contact

    def had_token(self, client: UUID, since: int) -> set[bool]:
        """Whether it had a push token: at the position, and after each event since."""
        found: Any = None
        had: set[bool] = set()
        for fact in self.it.world.facts(EVENTS, f"evt.client.*.{client.hex}"):
            if found is not None and fact.position > since:
                had.add(found.token is not None)
            found = fact.body.mutate(found)  # type: ignore[union-attr]
        return had | {found.token is not None}

    def fold[A: (Client, Contact)](self, kind: type[A], id: UUID) -> A:
        found: Any = None
        for fact in self.it.world.facts(EVENTS, f"evt.{kind.TOPIC}.*.{id.hex}"):
            found = fact.body.mutate(found)  # type: ignore[union-attr]
        assert isinstance(found, kind)
        return found


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
