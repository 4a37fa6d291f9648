"""Apple's push service, over its HTTP/2 provider API with a provider token.

Owns the APNs payload, its headers and the meaning of its reasons. Never removes an address: it says Gone, and when.
Source: developer.apple.com, "Sending notification requests to APNs" and "Handling notification responses".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.deliveries import channel
from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry
from domain.message import Content
from domain.text.number import moment
from gateways.port import Channel, Gateway, GatewayConfig, Notice, Target
from gateways.rendering import (
    PAYLOAD_BYTES_MAX,
    TID_CHARS_ASSUMED,
    check_size,
    encode_json,
    own_data,
    repeat_ids,
)
from gateways.styles.letter import letter
from gateways.transport import Answer, Header, Request, Result, Transport
from gateways.verdict import Halt, Verdict, at, conclude, json_of, judge_each, now_utc, said, unanswered

URL = "https://api.push.apple.com"
SOUND = "ping.aiff"
"""What the exchange has always played unless the sender says otherwise."""
PRIORITY = {1: b"1", 2: b"5", 3: b"10", 4: b"10"}
"""Urgency to apns-priority: 1 spares the battery and never wakes the screen, 5 may wait, 10 is at once."""
CONNECTIONS_MAX = 4
"""Apple gives a connection some hundred streams; at 100 ms an answer four of them carry 20,000 a second."""
RENEW_ON = frozenset({500, 503})
"""Apple's servers in trouble: it wants the retry on a new connection."""

TOKEN_S = 2_400
"""A provider token serves 40 minutes: Apple wants a new one after 20 at the earliest and 60 at the latest."""
TOKEN_SKEW_S = 120
"""A token's time lies at least this far back, so that a clock ahead of Apple's does no harm."""
TOKEN_AGAIN_S = 1_200
"""After signing anew because Apple called a token expired: not again before this."""

_DEVICE_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_OUR_BUG = frozenset({"PayloadEmpty", "PayloadTooLarge", "BadPayload"})
_WRONG_TOPIC = frozenset({"BadTopic", "TopicDisallowed"})
_WRONG_APP = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})


class ApnsConfig(GatewayConfig, frozen=True, kw_only=True):
    """key_pem: the .p8 file's text. topic: the application's bundle id. ca_file: instead of the system's."""

    SECRET = frozenset({"key_pem"})

    key_pem: str
    key_id: str
    team_id: str
    topic: str
    url: str = URL
    ca_file: str | None = None


class ProviderToken:
    """One token per team for 40 minutes, the same in every process without a word between them.

    Its time is the start of a fixed window and its signature deterministic (RFC 6979), so all processes make the
    same bytes, and Apple never sees too many updates.
    """

    def __init__(self, key_pem: str, key_id: str, team_id: str) -> None:
        from gateways.keys.es256 import load_key

        complaint = (
            "the APNs key is no P-256 key; use the text of the .p8 file from Apple's developer account"
        )
        self._key, self._key_id, self._team_id = load_key(key_pem, complaint), key_id, team_id
        self._issued_at, self._token = 0, ""
        self._forced_at = 0.0

    def at(self, now: datetime) -> str:
        window = int(now.timestamp() - TOKEN_SKEW_S) // TOKEN_S * TOKEN_S
        if window > self._issued_at and now.timestamp() - self._forced_at >= TOKEN_AGAIN_S:
            self._sign(window)
        return self._token

    def sign_again(self, now: datetime) -> bool:
        """Apple calls our token expired. False when that has just been tried: then it is our clock or the key."""
        if now.timestamp() - self._forced_at < TOKEN_AGAIN_S:
            return False
        self._forced_at = now.timestamp()
        self._sign(int(now.timestamp()))
        return True

    def _sign(self, issued_at: int) -> None:
        from gateways.keys.es256 import sign

        claims = {"iss": self._team_id, "iat": issued_at}
        self._issued_at, self._token = issued_at, sign(self._key, {"kid": self._key_id}, claims)


class ApnsGateway:
    """Sends alerts. slice_size: one slice fits the streams of one connection."""

    channel = channel.APNS
    slice_size = 500

    def __init__(
        self,
        config: ApnsConfig,
        transport: Transport,
        token: ProviderToken,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._config, self._transport, self._token, self._clock = config, transport, token, clock
        self._announced = ""

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        now = self._clock()
        bodies = _bodies(notice, targets)
        self._announce(self._token.at(now))
        verdicts = [_unsendable(target, body) for target, body in zip(targets, bodies, strict=True)]
        sent = [index for index, verdict in enumerate(verdicts) if verdict is None]
        ids = repeat_ids(notice.message, targets)
        results = await self._transport.post_many(
            [_request(targets[index].address, ids[index], bodies[index]) for index in sent],
            headers=self._shared_headers(notice, now),
            deadline_s=deadline_s,
        )
        of_app = notice.app is not None
        judged = judge_each(
            self.channel, results, lambda place, result: judge(result, ids[sent[place]], of_app=of_app)
        )
        for index, verdict in zip(sent, judged, strict=True):
            verdicts[index] = verdict
        known = [each for each in verdicts if each is not None]
        return conclude(self._after_expired_token(known), targets=targets)

    def _shared_headers(self, notice: Notice, now: datetime) -> tuple[Header, ...]:
        topic = (notice.app.apns_topic if notice.app else "") or self._config.topic
        return (
            (b"apns-topic", topic.encode()),
            (b"apns-expiration", _expiration(notice, now)),
            (b"apns-priority", PRIORITY[notice.urgency]),
        )

    def check(self, content: Content) -> None:
        size = len(payload(content, UUID(int=0), "x" * TID_CHARS_ASSUMED))
        check_size("APNs", size)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _announce(self, token: str) -> None:
        if token != self._announced:
            self._transport.set_header(b"authorization", b"bearer " + token.encode())
            self._announced = token

    def _after_expired_token(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Sign again once; when that does not help either, it is for people to mend."""
        if not any(
            isinstance(verdict, Retry) and verdict.code == "ExpiredProviderToken" for verdict in verdicts
        ):
            return verdicts
        if self._token.sign_again(self._clock()):
            return verdicts
        halt = Halt(
            "ExpiredProviderToken", "a newly signed token is called expired too: check the clock and the key"
        )
        return [halt if isinstance(v, Retry) and v.code == halt.code else v for v in verdicts]


def _bodies(notice: Notice, targets: Sequence[Target]) -> Sequence[bytes]:
    """One for each target; the same one, unless an app's style says something to each."""
    styled = letter(notice, channel.APNS, lambda style, sheet: encode_json(style.apns(sheet)))
    if styled is not None:
        return [styled.body(target) for target in targets]
    return [payload(notice.content, notice.message, notice.tid)] * len(targets)


def _unsendable(target: Target, body: bytes) -> Verdict | None:
    """Why it isn't even tried."""
    if len(body) > PAYLOAD_BYTES_MAX:
        return Rejected("PayloadTooLarge")
    return None if _DEVICE_TOKEN.fullmatch(target.address) else Rejected("BadDeviceToken", quarantine=True)


def payload(content: Content, message: UUID, tid: str | None) -> bytes:
    """The sender's own data beside `aps` and `msgxc`, which are ours."""
    alert = {"title": content.subject, "body": content.text} if content.subject else {"body": content.text}
    aps: dict[str, Any] = {
        "alert": alert,
        "sound": content.opts.get("sound", SOUND),
        "badge": content.opts.get("badge", 1),
    }
    if tid is not None:
        aps["thread-id"] = tid
    ours = {"message_id": message.hex} if tid is None else {"message_id": message.hex, "tid": tid}
    return encode_json({**own_data(content), "aps": aps, "msgxc": ours})


def _expiration(notice: Notice, now: datetime) -> bytes:
    """Apple keeps the message until then; 0 means one try at once."""
    return b"%d" % int(notice.expires_at.timestamp()) if notice.expires_at > now else b"0"


def _request(token: str, id: str, body: bytes) -> Request:
    """apns-id tells a repeat to us, apns-collapse-id to the device: it replaces what it shows."""
    same = id.encode()
    return Request(b"/3/device/" + token.encode(), body, ((b"apns-id", same), (b"apns-collapse-id", same)))


def judge(result: Result, id: str, *, of_app: bool = False) -> Verdict:
    """id: the apns-id we gave, which is Apple's name for the notification too.

    of_app: an app's own topic was used; one that is refused is that app's trouble and halts nothing.
    """
    if not isinstance(result, Answer):
        return unanswered(result)
    if result.status == 200:
        return Accepted(provider_id=id)
    problem = json_of(result)
    reason = said(problem, "reason") or str(result.status)
    if of_app and reason in _WRONG_TOPIC:
        return Retry(reason)
    return _judge_reason(result.status, reason, at(problem, "timestamp"))


def _judge_reason(status: int, reason: str, timestamp_ms: Any) -> Verdict:
    match status:
        case 410:
            # Final: Apple forgets the token for good. Without a time it could be older than the registration.
            since = moment(timestamp_ms, per_s=1_000)
            return Gone(reason, since, confirm=since is None)
        case 400 if reason in _WRONG_APP:
            return Rejected(reason, quarantine=True)
        case 400 | 413 if reason in _OUR_BUG or status == 413:
            return Rejected(reason)
        case 403 if reason == "ExpiredProviderToken":
            return Retry(reason, 0.0)
        case 400 if reason in {"IdleTimeout", "400"}:
            return Retry(reason)
        case 400 | 403 | 404 | 405:
            return Halt(reason, "APNs refuses our credentials, topic or headers")
        case 429 if reason == "TooManyProviderTokenUpdates":
            return Retry(reason, TOKEN_AGAIN_S)
        case 429 | 500 | 502 | 503 | 504:
            return Retry(reason)
        case _:
            return Rejected(reason, detail=f"unexpected status {status}")


def build(config: ApnsConfig) -> Gateway:
    from gateways.http2 import Http2Transport

    transport = Http2Transport(
        config.url,
        ca_file=config.ca_file,
        constants=((b"apns-push-type", b"alert"),),
        connections_max=CONNECTIONS_MAX,
        renew_on=RENEW_ON,
    )
    return ApnsGateway(config, transport, ProviderToken(config.key_pem, config.key_id, config.team_id))


CHANNEL = Channel(channel.APNS, ApnsConfig, build)
