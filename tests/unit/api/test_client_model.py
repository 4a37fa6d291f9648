"""Two devices and two people, in any order, with answers lost, calls repeated, keys rotated and removed, time passing:
what a device's client state says is always the fold of that client's events.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.client import Client
from domain.contact import Contact
from domain.recorded import EVENTS
from tests.memory.phone import APP, OTHER, Phone, phones
from tests.memory.signing import signing_key
from tests.memory.site import Site

NUMBERS = st.sampled_from([0, 1])
FLAGS = st.booleans()
PEOPLE = st.sampled_from(["ann", "bob"])
STARTED = {"events": [{"type": "internal", "name": "app:start", "timestamp": "2026-01-02T03:04:05Z"}]}


class Life(RuleBasedStateMachine):
    """The first device speaks v3, the second v4."""

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

    async def opening(self) -> Site:
        it = await self.opened.enter_async_context(phones())
        it.world.start("resolver")
        it.world.start("contact-id-writer")
        return it

    def teardown(self) -> None:
        self.runner.run(self.opened.aclose())
        self.runner.close()

    @rule(which=NUMBERS, version=st.integers(1, 3), lost=FLAGS, twice=FLAGS)
    def register(self, which: int, version: int, lost: bool, twice: bool) -> None:
        properties = {"platform": "ios", "applicationVersion": str(version)}
        self.call(which, "POST", "/client", properties, lost=lost, twice=twice)

    @rule(which=NUMBERS, token=st.sampled_from(["aa11", "bb22"]), lost=FLAGS, twice=FLAGS)
    def set_push_token(self, which: int, token: str, lost: bool, twice: bool) -> None:
        self.call(which, "PUT", "/client/push-token", {"pushToken": token}, lost=lost, twice=twice)

    @rule(which=NUMBERS, lost=FLAGS, twice=FLAGS)
    def clear_push_token(self, which: int, lost: bool, twice: bool) -> None:
        self.call(which, "DELETE", "/client/push-token", None, lost=lost, twice=twice)

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

    @rule(lost=FLAGS)
    def tell_events(self, lost: bool) -> None:
        """Of a start: the answer may have a state, with what has changed without the device."""
        if self.devices[0].state:
            self.call(0, "POST", "/client/events", STARTED, lost=lost, twice=False)

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
        self.it.world.clock.advance(seconds)
        self.runner.run(self.it.settled())

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
        got = await device.call(method, path, body)
        if got.status_code == 401:
            contact = None
            await self.refreshed(device)
            held = device.state, device.contact_token, device.refresh_token
            got = await device.call(method, path, body)
        assert got.status_code in (200, 204) or (path == "/client/app" and not held[0]), got.text
        if got.status_code < 300:
            # What a device never hears is as true as what it does.
            self.assert_folded(device)
            self.assert_done(device, method, path, body)
            if contact is not None and path in ("/client", "/client/push-token"):
                assert device.says["contactReference"] == contact.hex
            self.heard_all[device.client_id] = not lost
        if lost:
            device.state, device.contact_token, device.refresh_token = held
        elif got.status_code < 300 and path == "/client/app":
            device.app = str(body["to"])

    def contact_before_an_update(self, device: Phone) -> UUID | None:
        """Who uses a device whose state is of the app that it was before; None: it has moved already, or has not."""
        if not device.state or device.says["applicationCode"] == device.app:
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
        got = await device.call("POST", "/client/contact-token", body)
        if got.status_code == 200:
            self.assert_folded(device)
            self.heard_all[device.client_id] = True
        else:
            # It was superseded long ago, by an answer that was lost. The next sign-in mends it.
            assert got.status_code == 400
            device.contact_token = ""

    def assert_folded(self, device: Phone) -> None:
        says, (client, contact) = device.says, self.assert_own_folded(device)
        assert says.get("pushToken", False) == (client.token is not None)
        if client.contact_id is not None:
            assert says["contactId"] == client.contact_id
        assert says.get("contactId") in (None, contact.contact_id if contact else None)

    def assert_own_folded(self, device: Phone) -> tuple[Client, Contact | None]:
        """What nobody but the device changes."""
        says = device.says
        client = self.fold(Client, UUID(says["client"]))
        contact = self.fold(Contact, client.contact) if client.contact is not None else None
        assert (says["clientId"], says["applicationCode"]) == (client.client_id, client.app)
        assert (says["applicationCode"], says["clientId"]) == (client.app, client.client_id)
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
