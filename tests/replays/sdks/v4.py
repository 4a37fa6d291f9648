"""The Kotlin multiplatform SDK, 4.0.1, which speaks v4 (events: v5).

Followed (emartech/engagement-cloud-sdk at 4.0.1, below engagement-cloud-sdk/src/commonMain/kotlin/com/sap/ec/):
networking/ECClient.kt (headers, state, refresh), core/networking/clients/GenericNetworkClient.kt (retries),
networking/clients/{device,contact,push,config,event,embedded/messaging}/*.kt,
networking/clients/error/DefaultClientExceptionHandler.kt, event/Event.kt (nack), enable/EnableOrganizer.kt and
di/SetupInjection.kt (order of the states), enable/states/*.kt, mobileengage/session/ECSdkSession.kt,
api/push/PushInternal.kt, api/contact/ContactInternal.kt, api/config/ConfigInternal.kt (changeApplicationCode),
core/url/UrlFactory.kt, util/JsonUtil.kt (nulls left out, defaults written). Left out: remote config, the JS bridge and
logs (other hosts), rendering.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.replays.sdks import answers_v4
from tests.replays.sdks.surprises import Surprises
from tests.replays.sdks.v4_requests import BREAKS_MAX, Failed, Requests, Storage, Waiting
from tests.replays.sdks.wire import Clock, NetworkFailure, Wire

BATCH_MAX = 10
NACKS_MAX = 3


class V4:
    """One process of an app. Another one over the same storage is a later start of it."""

    sdk_version = "4.0.1"

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
        self.wire, self.storage, self.clock, self.surprises = wire, storage, clock, surprises
        self.application_version = version
        self.is_enabled = False
        self.shown: list[dict[str, Any]] = []
        self.requests = Requests(app, wire=wire, storage=storage, clock=clock, surprises=surprises)
        self._in_session = False
        self._working = False

    @property
    def app(self) -> str:
        return self.requests.app

    @property
    def client_path(self) -> str:
        return self.requests.client_path

    # The app's life.

    async def start(self) -> None:
        """Enable, state by state; the first that fails leaves the SDK disabled."""
        self.storage.app = self.requests.app
        self.is_enabled = (
            await self._register() and await self._register_push_token() and await self._open_app()
        )
        if not self.is_enabled:
            self.surprises.add("error the SDK could not be enabled")
            return
        await self.fetch_meta()
        await self._start_session()

    async def stop(self) -> None:
        if self._in_session and self.storage.contact_token is not None:
            self._in_session = False
            await self._event("session:end")

    async def _register(self) -> bool:
        if self.storage.device_info == self.device_payload():
            return True
        answer = await self.requests.asked("POST", self.client_path, self.device_payload())
        if answer is None:
            return False
        if answer.status == 200:
            self.requests.keep_tokens(answer)
        self.storage.device_info = self.device_payload()
        return True

    async def _register_push_token(self) -> bool:
        token = self.storage.push_token
        if token is None or token == self.storage.last_sent_push_token:
            return True
        if await self.requests.asked("PUT", f"{self.client_path}/push-token", {"pushToken": token}) is None:
            return False
        self.storage.last_sent_push_token = token
        return True

    async def _open_app(self) -> bool:
        """What was saved goes out first; the SDK waits for the answer to app:start."""
        await self._event("app:start")
        return not self.storage.queue

    async def _start_session(self) -> None:
        if not self._in_session and self.storage.contact_token is not None:
            self._in_session = True
            await self._event("session:start")

    # What an app asks for.

    async def set_contact(self, field_id: int, value: str) -> None:
        """The field is the application's setting: v4 does not say it."""
        if await self._contact("POST", {"contactFieldValue": value}):
            self.storage.is_contact_linked = True
            await self._start_session()

    async def set_authenticated_contact(self, field_id: int, open_id_token: str) -> None:
        if await self._contact("POST", {"openIdToken": open_id_token}):
            self.storage.is_contact_linked = True
            await self._start_session()

    async def clear_contact(self) -> None:
        if not self.storage.is_contact_linked:
            return
        if await self._contact("DELETE", None):
            self.storage.is_contact_linked = False
            await self.stop()

    async def _contact(self, method: str, body: dict[str, Any] | None) -> bool:
        answer = await self.requests.asked(method, f"{self.client_path}/contact", body)
        if answer is None:
            return False
        if answer.status != 204:
            self.requests.keep_tokens(answer)
        return True

    async def set_push_token(self, token: str) -> None:
        self.storage.push_token = token
        await self._register_push_token()

    async def clear_push_token(self) -> None:
        """The last sent one is forgotten whatever came of it."""
        await self.requests.asked("DELETE", f"{self.client_path}/push-token", None)
        self.storage.last_sent_push_token = None

    async def switch_app(self, code: str) -> bool:
        """One call to the old app's path. The SDK neither registers nor sends its push token under the new code, which
        it says in capitals from then on, whatever it was given.
        """
        code = code.upper()
        answer = await self.requests.asked("POST", f"{self.client_path}/app", {"to": code})
        if answer is None:
            return False
        self.requests.keep_tokens(answer)
        self.storage.app = code
        await self.fetch_meta()
        return True

    async def track(self, name: str, attributes: dict[str, str] | None = None) -> None:
        await self._event(name, attributes, type="custom")

    async def click(self, tracking_info: str, button_id: str = "") -> None:
        await self._event("push:click", tracking_info=tracking_info, reporting=button_id or None)

    async def come_online(self) -> None:
        self.wire.online = True
        await self.work()

    async def fetch_meta(self) -> None:
        await self._embedded("meta", answers_v4.read_meta)

    async def fetch_messages(self, *, skip: int = 0, unopened: bool = False) -> list[dict[str, Any]]:
        query = [f"%24skip={skip}"] if skip else []
        query += ["filterUnopened=true"] if unopened else []
        path = "messages" + ("?" + "&".join(query) if query else "")
        found = await self._embedded(path, answers_v4.read_messages)
        return [] if found is None else list(found["messages"])

    async def fetch_badge_count(self) -> int | None:
        found = await self._embedded("badge-count", answers_v4.read_badge_count)
        return None if found is None else int(found["count"])

    async def tag(self, message: dict[str, Any], tag: str, *, add: bool = True) -> None:
        update = {
            "messageId": message["id"],
            "operation": "add" if add else "remove",
            "tag": tag,
            "trackingInfo": message["trackingInfo"],
        }
        await self.requests.asked("PATCH", f"/embedded-messaging/api/v1/{self.app}/tags", [update])

    async def _embedded(self, path: str, read: Callable[[Any], Any]) -> Any:
        answer = await self.requests.asked("GET", f"/embedded-messaging/api/v1/{self.app}/{path}", None)
        if answer is None:
            return None
        try:
            return read(answer.json())
        except (KeyError, TypeError, ValueError) as error:
            self.surprises.add(f"unreadable {path}: {error!r} in {answer.body[:200]!r}")
            return None

    # Events: at most ten at a time; a network failure keeps them, an answer decides over them.

    async def _event(self, name: str, attributes: dict[str, str] | None = None, **more: Any) -> None:
        self._enqueue(name, attributes, **more)
        await self.work()

    def _enqueue(
        self,
        name: str,
        attributes: dict[str, str] | None = None,
        *,
        type: str = "internal",
        tracking_info: str | None = None,
        reporting: str | None = None,
    ) -> None:
        now = datetime.fromtimestamp(self.clock.tick() / 1000, UTC)
        event: dict[str, Any] = {
            "type": type,
            "name": name,
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z",  # Instant prints nanoseconds
            "attributes": attributes or {},
        }
        event |= {"trackingInfo": tracking_info} if tracking_info is not None else {}
        event |= {"reporting": reporting} if reporting is not None else {}
        self.storage.queue.append(Waiting(event))

    async def work(self) -> None:
        """One batch at a time: events have one consumer."""
        if self._working:
            return
        self._working = True
        try:
            await self._send_all()
        finally:
            self._working = False

    async def _send_all(self) -> None:
        breaks = 0
        while self.storage.queue and self.wire.online and breaks < BREAKS_MAX:
            breaks = 0 if await self._send_events(self.storage.queue[:BATCH_MAX]) else breaks + 1

    async def _send_events(self, batch: list[Waiting]) -> bool:
        """False: they are still there."""
        path = f"/v5/apps/{self.app}/client/events"
        body: dict[str, Any] = {"dnd": False, "events": [waiting.event for waiting in batch]}
        if self.storage.device_event_state is not None:
            body["deviceEventState"] = self.storage.device_event_state
        try:
            answer = await self.requests.send("POST", path, body)
            if answer.status != 204:
                self._take(answers_v4.read_events(answer.json()))
        except NetworkFailure:
            self.surprises.add(f"retried POST {path}: no answer")
            return False
        except Failed as failure:
            self.surprises.add(f"dropped {len(batch)} events: {failure}")
        except (KeyError, TypeError, ValueError) as error:
            self.surprises.add(f"unreadable answer to events: {error!r}")
            return self._nack(batch)
        self.storage.queue = self.storage.queue[len(batch) :]
        return True

    def _nack(self, batch: list[Waiting]) -> bool:
        for waiting in batch:
            waiting.nacks += 1
        self.storage.queue = [one for one in self.storage.queue if one.nacks < NACKS_MAX]
        return False

    def _take(self, found: dict[str, Any]) -> None:
        self.storage.device_event_state = found.get("deviceEventState")
        self.shown += found.get("contentCampaigns") or []
        for campaign in found.get("actionCampaigns") or []:
            for action in campaign["actions"]:
                self.shown.append(action)
                reporting = action.get("reporting", "")
                self._enqueue("on_event:action", tracking_info=campaign["trackingInfo"], reporting=reporting)

    def device_payload(self) -> dict[str, Any]:
        return {
            "platform": "android",
            "platformCategory": "mobile",
            "applicationVersion": self.application_version,
            "deviceModel": "Pixel 8",
            "osVersion": "15",
            "sdkVersion": self.sdk_version,
            "language": "en-US",
            "timezone": "+0200",
            "clientId": self.storage.client_id,
        }
