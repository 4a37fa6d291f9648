"""The Android SDK, 3.11.0, as its app's life drives it.

Followed (emartech/android-emarsys-sdk at 3.11.0): emarsys-sdk/Emarsys.kt (setup, initializeMobileEngageContact,
trackLocalPushToken), mobile-engage/device/DeviceInfoStartAction.kt, mobile-engage/iam/AppStartAction.kt,
core/app/AppLifecycleObserver.kt, mobile-engage/session/MobileEngageSession.kt,
mobile-engage/DefaultMobileEngageInternal.kt,
mobile-engage/push/DefaultPushInternal.kt, emarsys/config/DefaultConfigInternal.kt (changeApplicationCode),
mobile-engage/responsehandler/ClientInfoResponseHandler.kt, mobile-engage/geofence/GeofenceResponseMapper.kt,
mobile-engage/inbox/MessageInboxResponseMapper.kt, mobile-engage/inbox/DefaultMessageInboxInternal.kt (updateTag),
mobile-engage/util/RequestPayloadUtils.kt.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.replays.sdks import answers
from tests.replays.sdks.native import NativeSdk, OnDone, Request
from tests.replays.sdks.wire import Answer

CHANNEL = {
    "channelId": "news",
    "importance": 4,
    "canShowBadge": True,
    "canBypassDnd": False,
    "shouldVibrate": True,
    "shouldShowLights": True,
}


class Android(NativeSdk):
    sdk_version = "3.11.0"
    user_agent = "Dalvik/2.1.0 (Linux; U; Android 15; Pixel 8 Build/AP4A.250105.002)"
    drops_when_refresh_is_cut = False

    def device_payload(self) -> dict[str, Any]:
        return {
            "platform": "android",
            "applicationVersion": self.application_version,
            "deviceModel": "Pixel 8",
            "osVersion": "15",
            "sdkVersion": self.sdk_version,
            "language": "en-US",
            "timezone": "+0200",
            "pushSettings": {
                "areNotificationsEnabled": True,
                "importance": -1000,
                "channelSettings": [CHANNEL],
            },
        }

    def composite_extras(self) -> dict[str, Any]:
        return {}

    def changes_tags(self, tags: list[str] | None, tag: str, *, add: bool) -> bool:
        return tags is not None and (tag in tags) is not add

    def refresh_payload(self) -> dict[str, Any] | None:
        """Nulls are left out of bodies, so that without a refresh token it asks with an empty object."""
        token = self.storage.refresh_token
        return {} if token is None else {"refreshToken": token}

    def _handle(self, request: Request, answer: Answer) -> None:
        super()._handle(request, answer)
        if request.target.endswith("/client"):
            self.storage.device_info = self.device_payload()

    # The app's life.

    async def start(self) -> None:
        """Application.onCreate, then the first activity resumes before any answer is back."""
        self._set_up()
        self._resume()
        await self.work()

    async def stop(self) -> None:
        self._end_session()
        await self.work()

    def _set_up(self) -> None:
        if (token := self.storage.local_push_token) is not None:
            self._enqueue_push_token(token)
        if self.storage.contact_token is None and self.storage.contact_field_value is None:
            known = self.storage.device_info
            if self.storage.client_state is None or (known is not None and known != self.device_payload()):
                self.enqueue(self.device_request())
            self._clear_contact()

    def _resume(self) -> None:
        self._start_session()
        if self.storage.contact_token is not None:
            self.enqueue(self.event_request("internal", "app:start"))
        if self.storage.device_info != self.device_payload():
            self.enqueue(self.device_request())

    def _start_session(self) -> None:
        if self.storage.contact_token is None or self.app is None:
            return
        self.session_id = str(uuid4())
        self._session_began_ms = self.clock.tick()
        self.enqueue(self.event_request("internal", "session:start"))

    def _end_session(self, on_done: OnDone | None = None) -> None:
        if self.session_id is None:
            return
        duration = str(self.clock.tick() - self._session_began_ms)
        self.enqueue(self.event_request("internal", "session:end", {"duration": duration}), on_done)
        self.session_id = None

    # What an app asks for.

    async def set_contact(self, field_id: int, value: str) -> None:
        if (self.storage.contact_field_value, self.contact_field_id) == (value, field_id):
            return
        self.storage.contact_field_value, self.contact_field_id = value, field_id
        self.enqueue(self.contact_request())
        self._end_session()
        self._start_session()
        await self.work()

    async def clear_contact(self) -> None:
        """Tokens are forgotten only once the session's end has been answered."""
        if self.storage.contact_token is not None and self.storage.contact_field_value is None:
            return

        async def go_on(status: int | None) -> None:
            self._clear_contact()

        if self.session_id is None:
            self._clear_contact()
        else:
            self._end_session(go_on)
        await self.work()

    def _clear_contact(self) -> None:
        """The anonymous contact; a session begins once it is there."""
        self.storage.refresh_token = self.storage.contact_token = self.storage.push_token = None
        self.storage.contact_field_value = self.contact_field_id = None

        async def begin(status: int | None) -> None:
            self._start_session()

        self.enqueue(self.contact_request(), begin)

    async def set_push_token(self, token: str) -> None:
        self.storage.local_push_token = token
        self._enqueue_push_token(token)
        await self.work()

    def _enqueue_push_token(self, token: str) -> None:
        if self.storage.push_token == token:
            return

        async def remember(status: int | None) -> None:
            if status is None:
                self.storage.push_token = token

        path = f"{self.client_path}/push-token"
        self.enqueue(self.request("PUT", path, {"pushToken": token}), remember)

    async def clear_push_token(self) -> None:
        self.storage.push_token = None
        await self.submit(self.request("DELETE", f"{self.client_path}/push-token"))

    async def switch_app(self, code: str) -> bool:
        """Each step waits for the one before; the first failure ends it. False: the SDK gave up."""
        token, was_identified = self._push_token(), self.storage.contact_field_value is not None
        if token is not None:
            await self.clear_push_token()
        if was_identified:
            await self.clear_contact()
        if self.storage.queue:
            return False
        self._forget(code)
        await self.submit(self.device_request())
        if token is not None:
            await self.set_push_token(token)
        if not was_identified:
            await self.clear_contact()
        return not self.storage.queue

    def _push_token(self) -> str | None:
        """The one last told by Firebase stands in for it after a refresh has made the SDK forget."""
        return self.storage.push_token or self.storage.local_push_token

    def _forget(self, code: str) -> None:
        stored = self.storage
        stored.client_state = stored.contact_token = stored.refresh_token = stored.push_token = None
        stored.contact_field_value = self.session_id = None
        self.app = code

    async def fetch_inbox(self) -> list[dict[str, Any]]:
        answer = await self.now(self.request("GET", f"/v3/apps/{self.app}/inbox"))
        self.messages = None if answer is None else answers.android_inbox(answer.json(), self.surprises)
        return self.messages or []

    async def fetch_geofences(self) -> list[dict[str, Any]]:
        answer = await self.now(self.request("GET", f"/v3/apps/{self.app}/geo-fences"))
        return [] if answer is None else answers.android_geofences(answer.json(), self.surprises)

    async def fetch_inline(self, view_id: str) -> list[dict[str, Any]]:
        body = {"viewIds": [view_id], "clicks": []}
        answer = await self.now(self.request("POST", f"/v4/apps/{self.app}/inline-messages", body))
        return [] if answer is None else answers.inline(answer.json(), self.surprises)
