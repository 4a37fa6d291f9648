"""Web push (RFC 8030): encrypted messages to whatever push service a browser uses, so far as it is on our list.

Owns the payload browsers get, the headers and the meaning of the statuses. Never follows a redirect and never connects
to an address that was not checked. Each push service has connections and a circuit of its own: one that is silent
holds slices up for some seconds, then a few of them now and then (see circuit.py).
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from domain.deliveries import channel
from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry, Unknown
from domain.devices.push_token import read_subscription
from domain.message import Content
from domain.text.number import whole_number
from gateways.circuit import Circuit, Leave
from gateways.endpoint import AllowedHosts, Endpoint, EndpointRefused
from gateways.http2.dial import Origin
from gateways.keys.push_encryption import PLAIN_BYTES_MAX, BadKeys, Vapid, encrypt
from gateways.port import Channel, Gateway, GatewayConfig, Notice, Target
from gateways.rendering import TID_CHARS_ASSUMED, check_size, encode_json, topic_of
from gateways.styles.letter import letter
from gateways.transport import Answer, Header, NotSent, Request, Result, Transport
from gateways.verdict import (
    Credit,
    Halt,
    Verdict,
    clipped,
    conclude,
    in_time,
    judge_each,
    now_utc,
    retry_after_s,
    seconds_left,
    unanswered,
    untrusted,
)

log = structlog.get_logger(__name__)

PUSH_SERVICES = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)
URGENCY = {1: b"very-low", 2: b"low", 3: b"normal", 4: b"high"}
TTL_S_MAX = 2_419_200
"""Four weeks; services keep nothing longer and shorten what is."""
RETRY_S = 300.0
"""After a 429 without Retry-After."""
TROUBLE_S = 1.0
ORIGINS_MAX = 64
"""Push services connected to at once. Wildcards on the list let a user name more; the least used is closed."""
APP_KEYS_MAX = 1_000
"""Apps whose VAPID headers are kept signed, some kilobytes each."""
ENCRYPT_AT_ONCE = 50
"""Encryptions (80 us each) before others get their turn on the loop."""

SILENT = "service-silent"
"""Code of a Retry: the push service has not answered lately, and was not asked."""

_SUBJECT = re.compile(r"mailto:[^\s<>@]+@[^\s<>@]+|https://[^\s<>]+")


class WebPushConfig(GatewayConfig, frozen=True, kw_only=True):
    """subject: `mailto:` or https URL where push services can reach us. allowed_hosts: see `AllowedHosts`."""

    SECRET = frozenset({"vapid_private_key_pem"})

    vapid_private_key_pem: str
    subject: str
    allowed_hosts: tuple[str, ...] = PUSH_SERVICES
    ca_file: str | None = None


class WebPushGateway:
    channel = channel.WEBPUSH
    slice_size = 200

    def __init__(
        self,
        allowed: AllowedHosts,
        vapid: Vapid,
        connect: Callable[[Origin], Transport],
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._allowed, self._vapid, self._connect, self._clock = allowed, vapid, connect, clock
        self._transports: OrderedDict[tuple[Origin, bool], tuple[Transport, str]] = OrderedDict()
        self._vapid_of_app: OrderedDict[str, Vapid] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._circuits: OrderedDict[Origin, Circuit] = OrderedDict()
        self._credit = Credit(clock)

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        now = self._clock()
        verdicts: list[Verdict] = [Retry("deadline")] * len(targets)
        requests = await self._prepare(notice, targets, verdicts, until)
        shared, vapid = _shared_headers(notice, now), self._vapid_for(notice)

        async def post(origin: Origin, prepared: Sequence[tuple[int, Request]]) -> None:
            own = ((b"authorization", vapid.header(origin.url).encode()),) if vapid else ()
            circuit, began = self._circuit(origin), loop.time()
            leave = circuit.admit(len(prepared), began)
            for index, _ in prepared[leave.sends :]:
                verdicts[index] = Retry(SILENT, leave.others_after_s)
            if not leave.sends:
                return
            given_s = min(leave.patience_s, until - began)
            transport = self._transport(origin, of_app=vapid is not None)
            results = await transport.post_many(
                [request for _, request in prepared[: leave.sends]], headers=shared + own, deadline_s=given_s
            )
            self._note(origin, circuit, leave, results, given_s=given_s, took_s=loop.time() - began)
            now = self._clock()
            judged = judge_each(self.channel, results, lambda _, result: judge(result, notice, now))
            for (index, _), verdict in zip(prepared, judged, strict=False):
                verdicts[index] = verdict

        async with asyncio.TaskGroup() as group:  # one task per push service, of which there are a handful
            for origin, prepared in requests.items():
                group.create_task(post(origin, prepared))
        return conclude(verdicts, self._credit, targets=targets)

    def check(self, content: Content) -> None:
        size = len(payload(content, UUID(int=0), "x" * TID_CHARS_ASSUMED))
        check_size("web push", size, PLAIN_BYTES_MAX)

    async def aclose(self) -> None:
        while self._transports:
            await self._transports.popitem()[1][0].aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _prepare(
        self, notice: Notice, targets: Sequence[Target], verdicts: list[Verdict], until: float
    ) -> dict[Origin, list[tuple[int, Request]]]:
        """Encrypt for each target, by origin. What cannot be sent gets its verdict here."""
        loop = asyncio.get_running_loop()
        plain_for = _plain_for(notice)
        requests: dict[Origin, list[tuple[int, Request]]] = {}
        for index, target in enumerate(targets):
            if index % ENCRYPT_AT_ONCE == ENCRYPT_AT_ONCE - 1:
                await asyncio.sleep(0)
            if loop.time() >= until:
                break
            try:
                plain = plain_for(target)
                if len(plain) > PLAIN_BYTES_MAX:
                    verdicts[index] = Rejected("PayloadTooLarge")
                    continue
                endpoint, request = self._request(notice.message, target, plain)
            except (EndpointRefused, BadKeys, msgspec.DecodeError) as error:
                verdicts[index] = Rejected(type(error).__name__, quarantine=True, detail=clipped(str(error)))
            else:
                requests.setdefault(endpoint.origin, []).append((index, request))
        if len(requests) > ORIGINS_MAX:
            return dict(list(requests.items())[:ORIGINS_MAX])
        return requests

    def _request(self, message: UUID, target: Target, plain: bytes) -> tuple[Endpoint, Request]:
        subscription = read_subscription(target.address)
        endpoint = self._allowed.check(subscription.endpoint)
        body = encrypt(plain, p256dh=subscription.keys.p256dh, auth=subscription.keys.auth)
        return endpoint, Request(
            endpoint.path.encode(), body, ((b"topic", topic_of(message, target).encode()),)
        )

    def _vapid_for(self, notice: Notice) -> Vapid | None:
        """Who an app is to the push services, if it has a key of its own."""
        pem = notice.app.vapid_key_pem if notice.app else ""
        if not pem:
            return None
        vapid = self._vapid_of_app.pop(pem, None) or self._vapid.with_key(pem)
        if len(self._vapid_of_app) >= APP_KEYS_MAX:
            self._vapid_of_app.popitem(last=False)
        self._vapid_of_app[pem] = vapid
        return vapid

    def _transport(self, origin: Origin, *, of_app: bool) -> Transport:
        """The origin's own connections, with our current VAPID header.

        Apps with keys of their own share another set, whose slices bring their header along.
        """
        header = "" if of_app else self._vapid.header(origin.url)
        transport, announced = self._transports.pop((origin, of_app), (None, ""))
        if transport is None:
            transport = self._connect(origin)
            self._close_least_used()
        if announced != header:
            transport.set_header(b"authorization", header.encode())
        self._transports[origin, of_app] = (transport, header)
        return transport

    def _circuit(self, origin: Origin) -> Circuit:
        circuit = self._circuits.pop(origin, None) or Circuit()
        if len(self._circuits) >= ORIGINS_MAX:
            self._circuits.popitem(last=False)
        self._circuits[origin] = circuit
        return circuit

    def _note(
        self,
        origin: Origin,
        circuit: Circuit,
        leave: Leave,
        results: Sequence[Result],
        *,
        given_s: float,
        took_s: float,
    ) -> None:
        answered = sum(isinstance(result, Answer) for result in results)
        now = asyncio.get_running_loop().time()
        if circuit.note(leave, answered=answered, given_s=given_s, took_s=took_s, now=now):
            log.warning("push_service_silent", host=origin.host, sends=leave.sends, answered=answered)

    def _close_least_used(self) -> None:
        if len(self._transports) >= ORIGINS_MAX:
            (origin, _), (transport, _) = self._transports.popitem(last=False)
            self._vapid.forget(origin.url)
            task = asyncio.create_task(transport.aclose(), name=f"close {origin.host}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _plain_for(notice: Notice) -> Callable[[Target], bytes]:
    """What each target is to read: the same, unless an app's style says something to each."""
    styled = letter(notice, channel.WEBPUSH, lambda style, sheet: encode_json(style.web(sheet)))
    if styled is not None:
        return styled.body
    plain = payload(notice.content, notice.message, notice.tid)
    return lambda _: plain


def payload(content: Content, message: UUID, tid: str | None) -> bytes:
    """What the service worker gets: the sender's opts, with ours on top."""
    ours: dict[str, Any] = {"msg": content.text, "ok": True, "message_id": message.hex}
    if content.subject:
        ours["title"] = content.subject
    if tid is not None:
        ours["slug"] = f"/thread/{tid}"
    return encode_json({**content.opts, **ours})


def _shared_headers(notice: Notice, now: datetime) -> tuple[Header, ...]:
    ttl_s = min(seconds_left(notice, now), TTL_S_MAX)
    return ((b"ttl", b"%d" % ttl_s), (b"urgency", URGENCY[notice.urgency]))


def judge(result: Result, notice: Notice, now: datetime) -> Verdict:
    if isinstance(result, NotSent) and result.code == "private-address":
        return Rejected("EndpointRefused", quarantine=True, detail=clipped(result.detail))
    if isinstance(result, NotSent) and untrusted(result):
        return Retry(
            result.code, None, clipped(result.detail)
        )  # one push service's trouble, not the channel's
    if not isinstance(result, Answer):
        return unanswered(result)
    detail = clipped(result.body.decode("utf-8", "replace").strip())
    code = str(result.status)
    match result.status:
        case 200 | 201 | 202 | 204:
            return Accepted(clipped(result.headers.get("location", "")), _shortened(result, notice, now))
        case 404 | 410:
            return Gone(code, detail=detail)
        case 401 | 403 if notice.app is not None and notice.app.vapid_key_pem:
            # This browser subscribed to another key than the domain's: no trouble of the channel's.
            return Rejected(code, quarantine=True, detail=detail)
        case 401 | 403:
            return Halt(
                code, detail or "the push service refuses our VAPID key, subject or token", doubtful=True
            )
        case 408 | 429 | 503:
            asked_s = retry_after_s(result.headers, now)
            after_s = asked_s if asked_s is not None else RETRY_S if result.status == 429 else TROUBLE_S
            return in_time(after_s, notice, now, Retry(code, after_s, detail))
        case status if status >= 500:
            # The service may have taken it before it stumbled, or whoever stands before it.
            return Unknown(code, detail)
        case _:
            # 3xx included: whoever wants us elsewhere may give the browser another endpoint.
            return Rejected(code, detail=detail)


def _shortened(answer: Answer, notice: Notice, now: datetime) -> str:
    """A service may keep the message for less time than we asked."""
    kept_s = whole_number(answer.headers.get("ttl", ""))
    asked_s = min(seconds_left(notice, now), TTL_S_MAX)
    return f"ttl={kept_s}" if kept_s is not None and kept_s < asked_s - 1 else ""


def build(config: WebPushConfig) -> Gateway:
    from gateways.either import EitherTransport
    from gateways.http1 import Http1Transport
    from gateways.http2 import Http2Transport

    if not _SUBJECT.fullmatch(config.subject):
        raise ValueError(f"the VAPID subject {config.subject!r} is neither mailto:name@host nor an https URL")
    allowed = AllowedHosts(config.allowed_hosts)
    constants = ((b"content-encoding", b"aes128gcm"), (b"content-type", b"application/octet-stream"))

    def connect(origin: Origin) -> Transport:
        url, ca_file, resolve = origin.url, config.ca_file, allowed.resolve
        newer = Http2Transport(url, ca_file=ca_file, constants=constants, resolve=resolve)
        return EitherTransport(
            newer, lambda: Http1Transport(url, ca_file=ca_file, constants=constants, resolve=resolve)
        )

    return WebPushGateway(allowed, Vapid(config.vapid_private_key_pem, config.subject, now_utc), connect)


CHANNEL = Channel(channel.WEBPUSH, WebPushConfig, build)
