"""APNs as Apple documents it: POST /3/device/{token} over HTTP/2, with a provider token (JWT, ES256).

Owns Apple's checks, their order and their words (developer.apple.com, "Sending notification requests to APNs" and
"Handling notification responses from APNs"). Takes any hexadecimal token; one minted for another topic is refused.
The exchange's message id travels in the payload: {"aps": ..., "msgxc": {"message_id": "..."}}.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from infra.sandbox.books import Entry
from infra.sandbox.desk import Answer, Request, Verdict

PAYLOAD_BYTES_MAX, VOIP_PAYLOAD_BYTES_MAX = 4_096, 5_120
TOKEN_AGE_S_MAX = 3_600
TOKEN_AHEAD_S_MAX = 300
"""How far a provider's clock may be ahead of ours."""

TOKENS_REMEMBERED = 256
"""Verified provider tokens: a gateway has one at a time, tests have a few."""

COLLAPSE_ID_BYTES_MAX = 64
DEVICE_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){4,100}")
PUSH_TYPES = frozenset(
    "alert background location voip complication fileprovider mdm liveactivity pushtotalk widgets controls".split()  # noqa: SIM905
)
PRIORITIES = frozenset({"1", "5", "10"})


class Refusal(Exception):
    """One of Apple's reasons, with its status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Apns:
    """devices: tokens minted for a topic. clock: seconds since 1970."""

    name = "apns"
    names: tuple[str, ...] = ("apns",)
    body_bytes_max = VOIP_PAYLOAD_BYTES_MAX

    def __init__(
        self,
        *,
        key: ec.EllipticCurvePublicKey,
        key_id: str,
        team_id: str,
        topic: str,
        devices: dict[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key, self._key_id, self._team_id, self._topic = key, key_id, team_id, topic
        self._devices, self._clock = devices, clock
        self._verified: OrderedDict[str, float] = OrderedDict()

    def judge(self, request: Request) -> Verdict:
        device = request.path.removeprefix("/3/device/") if request.path.startswith("/3/device/") else ""
        apns_id = request.headers.get("apns-id", "") or str(uuid.uuid4()).upper()
        entry = _entry(device, apns_id, request)
        try:
            self._check(device, request)
        except Refusal as refused:
            answer = self.refusal(refused.status, refused.reason)
        else:
            answer = Answer(200)
        answer = msgspec.structs.replace(answer, headers=(("apns-id", apns_id), *answer.headers))
        return Verdict(answer, (entry,), (device,))

    def refusal(self, status: int, reason: str, address: str = "") -> Answer:
        body: dict[str, Any] = {"reason": reason or _REASON_OF_STATUS.get(status, "InternalServerError")}
        if status == 410:
            body["timestamp"] = int(self._clock() * 1000)
        return Answer(status, msgspec.json.encode(body), (("content-type", "application/json"),))

    def _check(self, device: str, request: Request) -> None:
        if request.method != "POST":
            raise Refusal(405, "MethodNotAllowed")
        if not request.path.startswith("/3/device"):
            raise Refusal(404, "BadPath")
        if not device:
            raise Refusal(400, "MissingDeviceToken")
        self._check_provider_token(request.headers.get("authorization", ""))
        _check_headers(request.headers)
        topic = request.headers.get("apns-topic", "")
        self._check_topic(topic)
        if not DEVICE_TOKEN.fullmatch(device):
            raise Refusal(400, "BadDeviceToken")
        if not _is_of(topic, self._devices.get(device.lower(), topic)):
            raise Refusal(400, "DeviceTokenNotForTopic")
        _check_payload(request)

    def _check_provider_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(403, "MissingProviderToken")
        issued_at = self._verified.get(token)
        if issued_at is None:
            issued_at = self._verify(token)
            self._verified[token] = issued_at
            if len(self._verified) > TOKENS_REMEMBERED:
                self._verified.popitem(last=False)
        age_s = self._clock() - issued_at
        if age_s > TOKEN_AGE_S_MAX:
            raise Refusal(403, "ExpiredProviderToken")
        if age_s < -TOKEN_AHEAD_S_MAX:
            raise Refusal(403, "InvalidProviderToken")

    def _verify(self, token: str) -> float:
        """The token's iat, its signature, key id and team checked."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token, self._key, algorithms=["ES256"], options={"verify_iat": False, "verify_exp": False}
            )
        except jwt.PyJWTError:
            raise Refusal(403, "InvalidProviderToken") from None
        issued_at = claims.get("iat")
        if (header.get("kid"), claims.get("iss")) != (self._key_id, self._team_id):
            raise Refusal(403, "InvalidProviderToken")
        if not isinstance(issued_at, int | float):
            raise Refusal(403, "InvalidProviderToken")
        return float(issued_at)

    def _check_topic(self, topic: str) -> None:
        if not topic:
            raise Refusal(400, "MissingTopic")
        if _is_of(topic, self._topic):
            return
        # The team's further apps are those that devices were made for.
        if not any(_is_of(topic, owner) for owner in set(self._devices.values())):
            raise Refusal(400, "TopicDisallowed")


def _is_of(topic: str, app: str) -> bool:
    """An app's bundle id, or one of its further topics, such as `.voip`."""
    return topic == app or topic.startswith(app + ".")


def _check_headers(headers: dict[str, str]) -> None:
    if (apns_id := headers.get("apns-id")) and not _is_uuid(apns_id):
        raise Refusal(400, "BadMessageId")
    if not headers.get("apns-expiration", "0").isdigit():
        raise Refusal(400, "BadExpirationDate")
    push_type = headers.get("apns-push-type", "alert")
    if push_type not in PUSH_TYPES:
        raise Refusal(400, "InvalidPushType")
    priority = headers.get("apns-priority", "5" if push_type == "background" else "10")
    if priority not in PRIORITIES or (push_type == "background" and priority == "10"):
        raise Refusal(400, "BadPriority")
    if len(headers.get("apns-collapse-id", "").encode()) > COLLAPSE_ID_BYTES_MAX:
        raise Refusal(400, "BadCollapseId")


def _check_payload(request: Request) -> None:
    voip = request.headers.get("apns-push-type") == "voip"
    if request.body_bytes > (VOIP_PAYLOAD_BYTES_MAX if voip else PAYLOAD_BYTES_MAX):
        raise Refusal(413, "PayloadTooLarge")
    if not isinstance(_payload(request.body).get("aps"), dict):
        raise Refusal(400, "PayloadEmpty")


def _entry(device: str, apns_id: str, request: Request) -> Entry:
    payload = _payload(request.body)
    aps = payload.get("aps")
    alert = aps.get("alert") if isinstance(aps, dict) else None
    words = alert if isinstance(alert, dict) else {"body": alert}
    ours = payload.get("msgxc")
    return Entry(
        address=device,
        title=_text(words.get("title")),
        body=_text(words.get("body")),
        message_id=_text(ours.get("message_id")) if isinstance(ours, dict) else "",
        collapse_id=request.headers.get("apns-collapse-id", ""),
        provider_id=apns_id,
        sender=request.headers.get("apns-topic", ""),
    )


def _payload(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_uuid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


_REASON_OF_STATUS = {
    400: "BadDeviceToken",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}
