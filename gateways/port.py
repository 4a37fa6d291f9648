"""What a channel gateway is: a slice of addresses in, outcomes out.

A gateway never touches the log or a read model, never retries by itself and never sleeps: it sends, each send
with a deadline, and says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

import msgspec

from domain.deliveries.outcome import Outcome
from domain.message import Content


class EventLinks(msgspec.Struct, frozen=True):
    """Where one recipient's browser reports to: each a URL of ours, in letters that JSON leaves as they are.

    actions: by the order of the actions asked for.
    """

    clicked: str
    received: str
    actions: tuple[str, ...] = ()


class Links(Protocol):
    """Makes the links that an app's recipients report by. Quick: its key is at hand, nothing is asked of anybody."""

    def of(
        self, message: UUID, campaign: str, target: Target, channel: str, actions: Sequence[str]
    ) -> EventLinks:
        """The same for the same recipient of the same message, however often it is sent.

        campaign: the message whose statistics count it, as its sender names it; "": itself. actions: ids.
        """
        ...


class AppSender(msgspec.Struct, frozen=True, kw_only=True):
    """How an app or a web domain sends.

    style: see gateways/styles/; one that is not there means the exchange's own form. apns_topic: "" for the channel's
    own. vapid_key_pem: the private key that browsers of the domain subscribed to, "" for the channel's own.
    android: which of Emarsys' payloads Android devices get. sid_key: of what a click is reported with (see
    domain.notifications.sid). links: None where nothing reports by them.
    """

    code: str
    style: str = "msgxc"
    apns_topic: str = ""
    vapid_key_pem: str = ""
    android: Literal["v1", "v2"] = "v1"
    sid_key: bytes = b""
    links: Links | None = None

    def __repr__(self) -> str:
        return f"AppSender({self.code!r}, {self.style!r})"


class AppSending(Protocol):
    """The apps in whose name messages are sent."""

    async def sender(self, realm: str, app: str, channel: str) -> AppSender | None:
        """How an app sends on a channel, by its code. None when it may not: unknown, retired, of another realm, off.

        From memory, at most a second behind the app's events; the same object as long as nothing has changed.
        Raises domain.errors.Unavailable.
        """
        ...


class VapidKeys(Protocol):
    """Who each app or web domain is to its browsers: a key pair for ever. app: its id.

    Made when it is first asked for, the same in every process. Errors: domain.errors.Unavailable.
    """

    async def public_key(self, app: UUID) -> str:
        """What pages give to `pushManager.subscribe` as applicationServerKey: base64url, 87 characters."""
        ...

    async def private_key_pem(self, app: UUID) -> str: ...


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to every address of a slice.

    urgency: 1 (very low) to 4 (high). expires_at: how long the provider may keep it. Whether it is still to be sent at
    all is the caller's decision, since a time to live of zero means one try at once. tid: the thread's outside id,
    None for a message without a thread. app: who sends it to its own clients, None when
    no app does.
    """

    realm: str
    message: UUID
    tid: str | None
    sender: str
    content: Content
    urgency: int
    expires_at: datetime
    app: AppSender | None = None


class Target(msgspec.Struct, frozen=True):
    """One address. client: whose it is, None when it belongs to the contact itself. repeats_since: set when an earlier
    try may have been sent, at that time or later; where no id of ours lets a repeat replace the first, the gateway asks
    the provider before it sends again.
    """

    address: str
    contact: UUID | None
    client: UUID | None
    repeats_since: datetime | None = None

    def send_id(self, message: UUID) -> str:
        """Stable over repeats: the same message to the same target has the same id."""
        return f"{message.hex}:{(self.client or self.contact or message).hex}"


class ChannelHalted(Exception):
    """The provider refuses our credentials or configuration: stop the channel, raise the alarm, keep the
    work.

    code: the provider's reason. retry_after_s: when to try the channel again. outcomes: one per target of
    the slice, in order; Retry for those that were refused or not sent.
    """

    def __init__(
        self, code: str, outcomes: Sequence[Outcome], *, detail: str = "", retry_after_s: float = 60.0
    ) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code, self.detail = code, detail
        self.outcomes, self.retry_after_s = outcomes, retry_after_s


class Gateway(Protocol):
    """One channel's way out.

    `send` returns exactly one outcome per target, in order, by `deadline_s` seconds at the latest
    (plus at most one second), whatever the provider does; addresses it could not get an answer for are
    Unknown when the request may have reached the provider, Retry when it certainly did not.
    Raises ChannelHalted (which carries the outcomes so far) when credentials or configuration are refused,
    and nothing else.
    """

    channel: str
    slice_size: int
    """How many addresses of a dispatch are sent (and recorded) together, at most 500."""

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]: ...

    def check(self, content: Content) -> None:
        """Raise domain.errors.TooLarge or Invalid when the channel could never carry this content."""
        ...

    async def aclose(self) -> None: ...


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the channels' settings: shows everything but what is listed in SECRET."""

    SECRET: ClassVar[frozenset[str]] = frozenset()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name in self.SECRET and value else value) for name, value in values]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"


class Channel(msgspec.Struct, frozen=True):
    """What a module in gateways/ offers to be a channel: `CHANNEL = Channel(name, config, build)`.

    build: takes an instance of `config`, imports its client library, opens nothing yet. Raises ValueError with one
    line that says what to write when the configuration cannot work.
    """

    name: str
    config: type[GatewayConfig]
    build: Callable[[Any], Gateway]
