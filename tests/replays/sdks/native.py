"""What the native SDKs, Android 3.x and iOS 3.10, have in common: a stored queue, its worker, the token refresh.

Followed: android-emarsys-sdk 3.11.0 core/worker/DefaultWorker.kt, core/worker/CoreCompletionHandlerMiddleware.kt,
emarsys/request/CoreCompletionHandlerRefreshTokenProxy.kt, core/request/RestClient.kt,
mobile-engage/request/mapper/*.kt, mobile-engage/responsehandler/*.kt; ios-emarsys-sdk 3.10.2
Core/Worker/EMSDefaultWorker.m, Core/Networking/EMSCoreCompletionHandlerMiddleware.m,
MobileEngage/RequestTools/EMSMobileEngageRefreshTokenCompletionProxy.m, MobileEngage/Mappers/*.m,
MobileEngage/ResponseHandlers/*.m. Where the two
differ, a method says which. Left out: remote config (another host), predict, in-app rendering.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.replays.sdks.surprises import Surprises
from tests.replays.sdks.wire import Answer, Clock, NetworkFailure, Wire

RETRY_PAUSE_S = 0.5
REFRESHES_MAX = 3
DROPPED = 418
"""What the SDKs turn a request into whose token could not be refreshed."""


@dataclass(frozen=True, slots=True)
class Request:
    """One row of the stored queue. payload None: no body."""

    id: str
    method: str
    path: str
    payload: dict[str, Any] | None = None
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def is_events(self) -> bool:
        return self.target.endswith("/events")


@dataclass(frozen=True, slots=True)
class Composite:
    """All events of the queue, sent as one; ids: the rows that it stands for."""

    request: Request
    ids: tuple[str, ...]


@dataclass(slots=True)
class Storage:
    """What survives the app's death: preferences, keychain, database."""

    client_id: str
    client_state: str | None = None
    contact_token: str | None = None
    refresh_token: str | None = None
    contact_field_value: str | None = None
    push_token: str | None = None
    """The one that the service is known to have."""
    local_push_token: str | None = None
    device_info: dict[str, Any] | None = None
    device_event_state: dict[str, Any] | None = None
    installed: bool = False
    viewed: list[dict[str, str]] = field(default_factory=list)
    """In-app campaigns that were shown: told with the next events, then forgotten."""
    clicks: list[dict[str, str]] = field(default_factory=list)
    """Their buttons that were pressed, likewise."""
    queue: list[Request] = field(default_factory=list)


OnDone = Callable[[int | None], Awaitable[None]]
"""Told None on success, else the status that the SDK's callback would carry."""


class NativeSdk(ABC):
    """One process of an app. Another one over the same storage is a later start of it."""

    def __init__(
        self,
        app: str,
        *,
        wire: Wire,
        storage: Storage,
        clock: Clock,
        surprises: Surprises,
        version: str = "1.0",
    ) -> None:
        self.app: str | None = app
        self.wire, self.storage, self.clock, self.surprises = wire, storage, clock, surprises
        self.application_version = version
        self.contact_field_id: int | None = None
        self.open_id_token: str | None = None
        self.session_id: str | None = None
        self.shown: list[dict[str, Any]] = []
        """Actions that answers asked for."""
        self.messages: list[dict[str, Any]] | None = None
        """Of the inbox, as it was fetched last."""
        self._session_began_ms = 0
        self._on_done: dict[str, OnDone] = {}
        self._working = False
        self._numbers = itertools.count(1)

    # What the two SDKs do differently.

    @property
    @abstractmethod
    def sdk_version(self) -> str: ...

    @property
    @abstractmethod
    def user_agent(self) -> str:
        """The platform's HTTP client's: the SDKs send none of their own."""

    @abstractmethod
    def device_payload(self) -> dict[str, Any]:
        """The body of POST client."""

    @abstractmethod
    def composite_extras(self) -> dict[str, Any]:
        """What joined events carry beyond themselves."""

    @abstractmethod
    def refresh_payload(self) -> dict[str, Any] | None:
        """The body of POST contact-token; None: the SDK does not even try."""

    @abstractmethod
    def changes_tags(self, tags: list[str] | None, tag: str, *, add: bool) -> bool:
        """Whether there is anything to tell. tags: those of the message, None where it has no such key."""

    drops_when_refresh_is_cut: bool
    """A network failure of the refresh drops the request: iOS. Android keeps it."""

    # The queue.

    async def submit(self, request: Request, on_done: OnDone | None = None) -> None:
        """Into the queue, then let the worker run, unless it does already."""
        self.enqueue(request, on_done)
        await self.work()

    def enqueue(self, request: Request, on_done: OnDone | None = None) -> None:
        self.storage.queue.append(request)
        if on_done is not None:
            self._on_done[request.id] = on_done

    async def work(self) -> None:
        """Send oldest first until the queue is empty, or something has to be kept."""
        if self._working or not self.wire.online:
            return
        self._working = True
        try:
            while self.storage.queue and await self._send_first():
                pass
        finally:
            self._working = False

    async def _send_first(self) -> bool:
        """False: the request was kept, and the worker rests until something wakes it."""
        work = self._joined(self.storage.queue[0])
        try:
            status = await self._with_refresh(work.request)
        except NetworkFailure:
            self.surprises.add(f"retried {work.request.method} {work.request.target} later: no answer")
            return False
        if status is not None and (status >= 500 or status in {408, 429}):
            self.surprises.add(f"retried {work.request.method} {work.request.target} later: {status}")
            return False
        self.storage.queue = [one for one in self.storage.queue if one.id not in work.ids]
        if status is not None:
            self.surprises.add(f"dropped {work.request.method} {work.request.target}: {status}")
        for id in work.ids:
            if on_done := self._on_done.pop(id, None):
                await on_done(status)
        return True

    def _joined(self, first: Request) -> Composite:
        """An event at the head takes all other events with it, whatever stands between (RequestRepositoryProxy)."""
        if not first.is_events:
            return Composite(first, (first.id,))
        events = [one for one in self.storage.queue if one.is_events]
        payload = {
            "clicks": list(self.storage.clicks),
            "viewedMessages": list(self.storage.viewed),
            **self.composite_extras(),
            "events": [event for one in events for event in (one.payload or {})["events"]],
        }
        request = Request(str(uuid4()), first.method, first.path, payload)
        return Composite(request, tuple(one.id for one in events))

    # The refresh of an expired contact token.

    async def _with_refresh(self, request: Request) -> int | None:
        """None on success, else the status of the failure; raises NetworkFailure where the SDK keeps the request.

        After the third refresh even a success counts as failed: the real proxies look at their counter first.
        """
        answer = await self.send(request)
        for _ in range(REFRESHES_MAX):
            if answer.status != 401:
                return None if answer.is_success else answer.status
            payload = self.refresh_payload()
            if payload is None:
                return 401
            self.storage.push_token = None
            if not await self._refreshed(payload):
                return DROPPED
            await self.clock.sleep(RETRY_PAUSE_S)
            answer = await self.send(request)
            if answer.status == 401:
                self.surprises.add(f"error {request.target}: 401 again after a refresh")
        return DROPPED

    async def _refreshed(self, payload: dict[str, Any]) -> bool:
        request = Request(str(uuid4()), "POST", f"{self.client_path}/contact-token", payload)
        try:
            answer = await self.send(request)
        except NetworkFailure:
            if self.drops_when_refresh_is_cut:
                return False
            raise
        if answer.is_success and not (answer.json() or {}).get("contactToken"):
            self.surprises.add("unreadable contact-token answer: no contactToken")
        return answer.is_success

    # One exchange: headers on, answer handlers off.

    async def send(self, request: Request) -> Answer:
        """Through the mappers, over the wire, through the response handlers: once, whatever comes."""
        body = request.payload
        state = self.storage.device_event_state
        if state is not None and (request.is_events or request.target.endswith("/inline-messages")):
            body = {**(body or {}), "deviceEventState": state}
        answer = await self.wire.send(request.method, request.target, self._headers(request), body)
        self._handle(request, answer)
        return answer

    def _headers(self, request: Request) -> dict[str, str]:
        """The contact token is held back by a test of the URL's end, which `?anonymous=true` slips through."""
        headers = {
            **request.headers,
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
            "X-EMARSYS-SDK-VERSION": self.sdk_version,
            "X-EMARSYS-SDK-MODE": "production",
            "X-Request-Order": str(self.clock.tick()),
            "X-Client-Id": self.storage.client_id,
        }
        if self.storage.client_state is not None:
            headers["X-Client-State"] = self.storage.client_state
        held_back = request.target.endswith(("/client/contact", "/contact-token"))
        if self.storage.contact_token is not None and not held_back:
            headers["X-Contact-Token"] = self.storage.contact_token
        return headers

    def _handle(self, request: Request, answer: Answer) -> None:
        """Whatever the status: the handlers look at headers and keys only."""
        if state := answer.headers.get("x-client-state"):
            self.storage.client_state = state
        elif self._ought_to_carry_state(request, answer):
            self.surprises.add(f"error {request.method} {request.target}: no X-Client-State in its answer")
        if answer.is_success and request.is_events:
            sent = request.payload or {}
            self.storage.viewed = [one for one in self.storage.viewed if one not in sent["viewedMessages"]]
            self.storage.clicks = [one for one in self.storage.clicks if one not in sent["clicks"]]
        body = answer.json()
        if not isinstance(body, dict):
            return
        if isinstance(token := body.get("contactToken"), str):
            self.storage.contact_token = token
        if isinstance(token := body.get("refreshToken"), str):
            self.storage.refresh_token = token
        if answer.is_success and request.is_events and isinstance(body.get("deviceEventState"), dict):
            self.storage.device_event_state = body["deviceEventState"]
        if isinstance(told := body.get("onEventAction"), dict) and "actions" in told:
            self._carry_out(told)

    def _carry_out(self, told: dict[str, Any]) -> None:
        """Actions of a campaign, which counts as viewed then."""
        if not all(isinstance(action.get("type"), str) for action in told["actions"]):
            self.surprises.add(f"unreadable onEventAction: {told!r}")
        self.shown += told["actions"]
        viewed = self.event_request("internal", "inapp:viewed", {"campaignId": told["campaignId"]})
        assert viewed.payload is not None
        at = viewed.payload["events"][0]["timestamp"]
        self.storage.viewed.append({"campaignId": told["campaignId"], "timestamp": at})
        self.enqueue(viewed)

    def _ought_to_carry_state(self, request: Request, answer: Answer) -> bool:
        return answer.is_success and request.path.startswith(self.client_path) and not request.is_events

    # Requests.

    @property
    def client_path(self) -> str:
        return f"/v3/apps/{self.app}/client"

    def request(
        self, method: str, path: str, payload: dict[str, Any] | None = None, query: str = ""
    ) -> Request:
        return Request(str(uuid4()), method, path, payload, query)

    def device_request(self) -> Request:
        return self.request("POST", self.client_path, self.device_payload())

    def contact_request(self) -> Request:
        """Of the contact in `storage`; without one the anonymous."""
        if self.open_id_token is not None:
            payload = {"contactFieldId": self.contact_field_id, "openIdToken": self.open_id_token}
            return self.request("POST", f"{self.client_path}/contact", payload)
        value = self.storage.contact_field_value
        if value is None:
            return self.request("POST", f"{self.client_path}/contact", {}, "anonymous=true")
        named = {"contactFieldId": self.contact_field_id, "contactFieldValue": value}
        return self.request("POST", f"{self.client_path}/contact", named)

    def event_request(self, type: str, name: str, attributes: dict[str, str] | None = None) -> Request:
        now = datetime.fromtimestamp(self.clock.tick() / 1000, UTC)
        event: dict[str, Any] = {
            "type": type,
            "name": name,
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}Z",
        }
        if attributes:
            event["attributes"] = attributes
        if self.session_id is not None:
            event["sessionId"] = self.session_id
        payload = {"clicks": [], "viewedMessages": [], "events": [event]}
        return self.request("POST", f"/v4/apps/{self.app}/client/events", payload)

    # What an app does with either.

    async def set_authenticated_contact(self, field_id: int, open_id_token: str) -> None:
        """The app's own sign-in vouches for the contact. Sessions are left as they are here."""
        self.contact_field_id, self.open_id_token = field_id, open_id_token
        await self.submit(self.contact_request())

    async def track(self, name: str, attributes: dict[str, str] | None = None) -> None:
        await self.submit(self.event_request("custom", name, attributes))

    async def click(self, sid: str, button_id: str = "") -> None:
        """The person taps a notification, or one of its buttons."""
        attributes = {"sid": sid, "origin": "main"}
        if button_id:
            attributes = {"button_id": button_id, "origin": "button", "sid": sid}
        await self.submit(self.event_request("internal", "push:click", attributes))

    async def press(self, campaign_id: str, button_id: str) -> None:
        """A button of an in-app message: told as an event and, beside, as a click."""
        attributes = {"campaignId": campaign_id, "buttonId": button_id}
        pressed = self.event_request("internal", "inapp:click", attributes)
        assert pressed.payload is not None
        self.storage.clicks.append({**attributes, "timestamp": pressed.payload["events"][0]["timestamp"]})
        await self.submit(pressed)

    async def tag(self, message_id: str, tag: str, *, add: bool = True) -> None:
        """Says nothing of what the inbox, once it was fetched, tells to be so already."""
        if self.messages is not None and not any(
            message["id"] == message_id and self.changes_tags(message.get("tags"), tag.lower(), add=add)
            for message in self.messages
        ):
            return
        name = "inbox:tag:add" if add else "inbox:tag:remove"
        await self.submit(self.event_request("internal", name, {"messageId": message_id, "tag": tag.lower()}))

    async def come_online(self) -> None:
        self.wire.online = True
        await self.work()

    async def now(self, request: Request) -> Answer | None:
        """Past the queue (submitNow); None: no answer that its caller could use."""
        try:
            status = await self._answer_now(request)
        except NetworkFailure:
            self.surprises.add(f"error {request.target}: no answer")
            return None
        return status

    async def _answer_now(self, request: Request) -> Answer | None:
        answer = await self.send(request)
        payload = self.refresh_payload()
        if answer.status == 401 and payload is not None:
            self.storage.push_token = None
            if await self._refreshed(payload):
                await self.clock.sleep(RETRY_PAUSE_S)
                answer = await self.send(request)
        if not answer.is_success:
            self.surprises.add(f"error {request.method} {request.target}: {answer.status}")
            return None
        return answer
