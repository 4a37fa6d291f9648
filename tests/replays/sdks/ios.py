"""The iOS SDK, 3.10.2, as its app's life drives it.

Followed (emartech/ios-emarsys-sdk at 3.10.2, below Sources/): EmarsysSDK/Emarsys.m (setupWithConfig,
resetRequestContextOnReinstall, registerAppStartBlock), EmarsysSDK/AppStart/EMSAppStartBlockProvider.m,
MobileEngage/Internal/EMSDeviceInfoV3ClientInternal.m, EmarsysSDK/Clients/EMSContactClientInternal.m,
MobileEngage/Session/EMSSession.m, MobileEngage/Push/EMSPushV3Internal.m, EmarsysSDK/Setup/EMSConfigInternal.m
(changeApplicationCode), MobileEngage/Storage/MERequestRepositoryProxy.m, MobileEngage/RequestTools/EMSRequestFactory.m,
MobileEngage/Geofence/EMSGeofenceResponseMapper.m, MobileEngage/InboxV3/EMSInboxResultParser.m,
MobileEngage/InboxV3/EMSInboxV3.m (updateTagWithConditionBlock).
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any
from uuid import uuid4

from tests.replays.sdks import answers
from tests.replays.sdks.native import NativeSdk, Request


class Ios(NativeSdk):
    sdk_version = "3.10.2"
    user_agent = "Shop/1 CFNetwork/1568.100.1 Darwin/24.1.0"
    drops_when_refresh_is_cut = True

    def device_payload(self) -> dict[str, Any]:
        return {
            "platform": "ios",
            "applicationVersion": self.application_version,
            "deviceModel": "iPhone16,1",
            "osVersion": "18.1",
            "sdkVersion": self.sdk_version,
            "language": "de-AT",
            "timezone": "+0200",
            "pushSettings": {
                "authorizationStatus": "authorized",
                "soundSetting": "enabled",
                "badgeSetting": "enabled",
                "notificationCenterSetting": "enabled",
                "lockScreenSetting": "enabled",
                "carPlaySetting": "notSupported",
                "alertSetting": "enabled",
                "alertStyle": "banner",
                "showPreviewsSetting": "whenAuthenticated",
                "criticalAlertSetting": "notSupported",
                "providesAppNotificationSettings": False,
                "scheduledDeliverySetting": "disabled",
                "timeSensitiveSetting": "notSupported",
            },
        }

    def composite_extras(self) -> dict[str, Any]:
        return {
            "language": "de-AT",
            "ems_sdk": self.sdk_version,
            "application_version": self.application_version,
        }

    def changes_tags(self, tags: list[str] | None, tag: str, *, add: bool) -> bool:
        return (tag in (tags or ())) is not add

    def refresh_payload(self) -> dict[str, Any] | None:
        """The id token is added to whatever goes below /client/contact, a refresh too (EMSOpenIdTokenMapper.m)."""
        token = self.storage.refresh_token
        extra = {} if self.open_id_token is None else {"openIdToken": self.open_id_token}
        return None if token is None else {"refreshToken": token, **extra}

    # The app's life.

    async def start(self) -> None:
        """Setup in didFinishLaunching, then the app becomes active before any answer is back."""
        self._set_up()
        self._become_active()
        await self.work()

    async def stop(self) -> None:
        self._end_session()
        await self.work()

    def _set_up(self) -> None:
        stored = self.storage
        if not stored.installed and stored.contact_field_value is None:
            self._reset()
            stored.installed = True
        if stored.contact_token is None and stored.contact_field_value is None:
            self._track_device()
            self._enqueue_contact(None, None)
        if stored.contact_token is not None:
            self.enqueue(self.event_request("internal", "app:start"))

    def _become_active(self) -> None:
        self._track_device()
        self._start_session()

    def _track_device(self) -> None:
        if self.storage.client_state is not None and self.storage.device_info == self.device_payload():
            return
        self.storage.device_info = self.device_payload()
        self.enqueue(self.device_request())

    def _start_session(self) -> None:
        """With or without a contact token."""
        self.session_id = str(uuid4()).upper()
        self._session_began_ms = self.clock.tick()
        self.enqueue(self.event_request("internal", "session:start"))

    def _end_session(self) -> None:
        duration = str(self.clock.tick() - self._session_began_ms)
        self.enqueue(self.event_request("internal", "session:end", {"duration": duration}))
        self.session_id = None

    def _reset(self) -> None:
        stored = self.storage
        stored.client_state = stored.contact_token = stored.refresh_token = None
        stored.contact_field_value = self.contact_field_id = None

    # What an app asks for.

    async def set_contact(self, field_id: int, value: str) -> None:
        if self.storage.contact_field_value != value:
            self._enqueue_contact(field_id, value)
            await self.work()

    async def clear_contact(self) -> None:
        if self.storage.contact_token is None or self.storage.contact_field_value is not None:
            self._enqueue_contact(None, None)
            await self.work()

    def _enqueue_contact(self, field_id: int | None, value: str | None) -> None:
        """Tokens stay: the old contact's rides on the anonymous call. A failure brings the former contact back."""
        before = (self.contact_field_id, self.storage.contact_field_value)
        self.contact_field_id, self.storage.contact_field_value = field_id, value

        async def settle(status: int | None) -> None:
            if status is not None:
                self.contact_field_id, self.storage.contact_field_value = before
                return
            if value is None:
                self.storage.push_token = None
            self._end_session()
            self._start_session()

        self.enqueue(self.contact_request(), settle)

    async def set_push_token(self, token: str) -> None:
        """Every time: tokens are compared by address, and no two NSData are the same (EMSPushV3Internal.m)."""
        self.storage.local_push_token = token

        async def remember(status: int | None) -> None:
            if status is None:
                self.storage.push_token = token

        path = f"{self.client_path}/push-token"
        await self.submit(self.request("PUT", path, {"pushToken": token}), remember)

    async def clear_push_token(self) -> None:
        self.storage.push_token = self.storage.local_push_token = None
        await self.submit(self.request("DELETE", f"{self.client_path}/push-token", {}))

    async def switch_app(self, code: str) -> bool:
        """False: the SDK gave up."""
        token = self.storage.local_push_token
        if token is not None:
            await self.clear_push_token()
        if self.storage.contact_field_value is not None:
            await self.clear_contact()
        self._reset()
        self.app = code
        await self.submit(self.device_request())
        await self.clear_contact()
        if token is not None:
            await self.set_push_token(token)
        return not self.storage.queue

    async def fetch_inbox(self) -> list[dict[str, Any]]:
        answer = await self.now(self._authorized(f"/v3/apps/{self.app}/inbox"))
        self.messages = None if answer is None else answers.ios_inbox(answer.json(), self.surprises)
        return self.messages or []

    async def fetch_geofences(self) -> list[dict[str, Any]]:
        answer = await self.now(self._authorized(f"/v3/apps/{self.app}/geo-fences"))
        return [] if answer is None else answers.ios_geofences(answer.json(), self.surprises)

    async def fetch_inline(self, view_id: str) -> list[dict[str, Any]]:
        body = {"viewIds": [view_id], "clicks": []}
        answer = await self.now(self.request("POST", f"/v4/apps/{self.app}/inline-messages", body))
        return [] if answer is None else answers.inline(answer.json(), self.surprises)

    def _authorized(self, path: str) -> Request:
        """Basic authentication with the app's code and no password; it says nothing that the path does not."""
        word = b64encode(f"{self.app}:".encode()).decode()
        return replace(self.request("GET", path), headers={"Authorization": f"Basic {word}"})
