"""A device to replay on: which SDK, its storage, its network, and as many lives of its app as a scenario wants."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests.replays.sdks import native, v4_requests
from tests.replays.sdks.android import Android
from tests.replays.sdks.ios import Ios
from tests.replays.sdks.surprises import Surprises
from tests.replays.sdks.v4 import V4
from tests.replays.sdks.wire import Clock, Wire

FIELD = 3
"""E-mail, as Emarsys numbers its contact fields."""
EPOCH_MS = 1_767_323_045_000

type Sdk = Android | Ios | V4


@dataclass(slots=True)
class Device:
    """`sdk` is the app's present life; `restart` gives it the next one over the same storage."""

    kind: type[Android | Ios | V4]
    wire: Wire
    storage: native.Storage | v4_requests.Storage
    app: str
    clock: Clock = field(default_factory=lambda: Clock(EPOCH_MS))
    surprises: Surprises = field(default_factory=Surprises)
    version: str = "1.0"
    sdk: Any = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, version: str = "") -> None:
        """The app's process died; perhaps it was also updated."""
        self.version = version or self.version
        self.sdk = self.kind(
            self.app,
            wire=self.wire,
            storage=self.storage,  # type: ignore[arg-type]  # each kind has its own
            clock=self.clock,
            surprises=self.surprises,
            version=self.version,
        )

    @property
    def client_id(self) -> str:
        return self.storage.client_id

    @property
    def is_native(self) -> bool:
        return self.kind is not V4

    def state(self) -> dict[str, Any]:
        """The claims of the client state, read without a key."""
        assert self.storage.client_state is not None, "no client state"
        return claims(self.storage.client_state)

    def spoil_contact_token(self) -> None:
        """As good as expired: the service must ask for a new one."""
        token = self.storage.contact_token
        assert token is not None
        head, body, signature = token.split(".")
        self.storage.contact_token = f"{head}.{body}.{signature[::-1]}"

    def events_sent(self) -> list[str]:
        """The names of all events that were in an answered request, in order."""
        return [
            event["name"]
            for call in self.wire.calls
            if call.path.endswith("/events") and call.status is not None and call.status < 300
            for event in call.body["events"]
        ]


def claims(token: str) -> dict[str, Any]:
    text = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def android(http: httpx.AsyncClient, app: str) -> Device:
    return Device(Android, Wire(http), native.Storage(str(uuid4())), app)


def ios(http: httpx.AsyncClient, app: str) -> Device:
    return Device(Ios, Wire(http), native.Storage(str(uuid4()).upper()), app)


def multiplatform(http: httpx.AsyncClient, app: str) -> Device:
    return Device(V4, Wire(http), v4_requests.Storage(str(uuid4())), app)


MAKERS: dict[str, Callable[[httpx.AsyncClient, str], Device]] = {
    "android": android,
    "ios": ios,
    "v4": multiplatform,
}
