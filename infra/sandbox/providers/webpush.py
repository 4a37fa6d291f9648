"""A web-push service and the browsers behind it: RFC 8030, VAPID (RFC 8292), message encryption (RFC 8291).

Owns POST /push/{id}. Subscriptions minted here keep their private key, so their messages are decrypted as the
browser would; of others only the size is known. The exchange's message id is in the JSON payload:
{"message_id": "..."}.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from domain.text.number import whole_number
from infra.sandbox.books import Entry
from infra.sandbox.desk import Answer, Request, Verdict

BODY_BYTES_MAX = 4_096
TTL_S_MAX = 2_592_000
"""Thirty days; a longer one is shortened, as services do."""

VAPID_LIFE_S_MAX = 86_400
CLOCK_SKEW_S = 60
TOKENS_REMEMBERED = 256
URGENCIES = frozenset({"very-low", "low", "normal", "high"})
TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
PUSH_PATH = re.compile(r"/push/([A-Za-z0-9_-]{1,256})")
AUTHORIZATION = re.compile(r"\s*([tk])\s*=\s*\"?([A-Za-z0-9_.\-]+)\"?\s*")
SUBJECT = re.compile(r"mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+")
"""Apple's service refuses a `sub` with spaces or angle brackets, so this one does."""

CURVE = ec.SECP256R1()


class Subscription(msgspec.Struct, frozen=True):
    """What a browser keeps. All keys base64url. application_server_key: "" takes any sender."""

    id: str
    private_key: str
    p256dh: str
    auth: str
    application_server_key: str = ""


class Refusal(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class WebPush:
    """origin: set once the port is known; tokens must be made for it."""

    name = "webpush"
    names: tuple[str, ...] = ("webpush",)
    body_bytes_max = BODY_BYTES_MAX

    def __init__(
        self, subscriptions: dict[str, Subscription], *, clock: Callable[[], float] = time.time
    ) -> None:
        self.subscriptions, self._clock = subscriptions, clock
        self.origin = ""
        self._verified: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    def endpoint(self, id: str) -> str:
        return f"{self.origin}/push/{id}"

    def judge(self, request: Request) -> Verdict:
        endpoint = self.origin + request.path
        try:
            subscription = self._check(request)
        except Refusal as refused:
            return Verdict(
                self.refusal(refused.status, refused.reason), (Entry(address=endpoint),), (endpoint,)
            )
        provider_id = secrets.token_urlsafe(12)
        ttl = min(whole_number(request.headers["ttl"]) or 0, TTL_S_MAX)
        headers = (("location", f"{self.origin}/message/{provider_id}"), ("ttl", str(ttl)))
        entry = _entry(endpoint, provider_id, request, subscription)
        return Verdict(Answer(201, b"", headers), (entry,), (endpoint,))

    def refusal(self, status: int, reason: str, address: str = "") -> Answer:
        headers = [("content-type", "text/plain; charset=utf-8")]
        if status == 401:
            headers.append(("www-authenticate", "vapid"))
        return Answer(status, (reason or f"status {status}").encode(), tuple(headers))

    def _check(self, request: Request) -> Subscription | None:
        path = PUSH_PATH.fullmatch(request.path)
        if not path:
            raise Refusal(404, "no such subscription")
        if request.method != "POST":
            raise Refusal(405, "only POST")
        subscription = self.subscriptions.get(path[1])
        self._check_sender(request.headers.get("authorization", ""), subscription)
        if whole_number(request.headers.get("ttl", "")) is None:
            raise Refusal(400, "TTL header missing or not a number")
        if request.headers.get("urgency", "normal") not in URGENCIES:
            raise Refusal(400, "Urgency is very-low, low, normal or high")
        if "topic" in request.headers and not TOPIC.fullmatch(request.headers["topic"]):
            raise Refusal(400, "Topic is 1 to 32 characters of base64url")
        if request.body_bytes > BODY_BYTES_MAX:
            raise Refusal(413, f"more than {BODY_BYTES_MAX} bytes")
        if request.body and request.headers.get("content-encoding") != "aes128gcm":
            raise Refusal(400, "Content-Encoding must be aes128gcm")
        return subscription

    def _check_sender(self, authorization: str, subscription: Subscription | None) -> None:
        """RFC 8292: `vapid t=<JWT>, k=<public key>`."""
        scheme, _, rest = authorization.partition(" ")
        found = {m[1]: m[2] for part in rest.split(",") if (m := AUTHORIZATION.fullmatch(part))}
        if scheme.lower() != "vapid" or found.keys() != {"t", "k"}:
            raise Refusal(401, "Authorization must be: vapid t=..., k=...")
        if subscription and subscription.application_server_key not in {"", found["k"].rstrip("=")}:
            raise Refusal(403, "the subscription belongs to another application server key")
        claims = self._verified.get((found["t"], found["k"]))
        if claims is None:
            claims = _verify(found["t"], found["k"])
            self._verified[found["t"], found["k"]] = claims
            if len(self._verified) > TOKENS_REMEMBERED:
                self._verified.popitem(last=False)
        self._check_claims(claims)

    def _check_claims(self, claims: dict[str, Any]) -> None:
        expires_at, now = claims.get("exp"), self._clock()
        if not isinstance(expires_at, int | float) or expires_at <= now - CLOCK_SKEW_S:
            raise Refusal(403, "the token has expired")
        if expires_at > now + VAPID_LIFE_S_MAX + CLOCK_SKEW_S:
            raise Refusal(403, "exp is more than 24 hours ahead")
        if claims.get("aud") != self.origin:
            raise Refusal(403, f"aud must be {self.origin}")
        if not SUBJECT.fullmatch(str(claims.get("sub", ""))):
            raise Refusal(403, "sub must be a mailto: or https: address")


def mint(id: str, application_server_key: str = "") -> Subscription:
    """A browser's side of a new subscription."""
    key = ec.generate_private_key(CURVE)
    private = key.private_numbers().private_value.to_bytes(32, "big")
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return Subscription(
        id,
        encode(private),
        encode(public),
        encode(secrets.token_bytes(16)),
        application_server_key.rstrip("="),
    )


def decrypt(body: bytes, subscription: Subscription) -> bytes:
    """RFC 8291 over RFC 8188, one record. Raises ValueError when it isn't for this subscription or not well formed."""
    if len(body) < 21 or len(body) < 21 + body[20] + 17:
        raise ValueError("too short for a header and a record")
    salt, record_bytes, sender = body[:16], int.from_bytes(body[16:20], "big"), body[21 : 21 + body[20]]
    record = body[21 + body[20] :]
    if record_bytes < 18 or len(record) > record_bytes:
        raise ValueError("the message must be one record")
    key = ec.derive_private_key(int.from_bytes(decode(subscription.private_key), "big"), CURVE)
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, sender))
    context = b"WebPush: info\x00" + decode(subscription.p256dh) + sender
    material = _hkdf(decode(subscription.auth), shared, context, 32)
    content_key = _hkdf(salt, material, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _hkdf(salt, material, b"Content-Encoding: nonce\x00", 12)
    try:
        padded = AESGCM(content_key).decrypt(nonce, record, None)
    except InvalidTag:
        raise ValueError("not encrypted for this subscription") from None
    text, delimiter, padding = padded.rpartition(b"\x02")
    if not delimiter or padding.strip(b"\x00"):
        raise ValueError("the last record's delimiter is missing")
    return text


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _verify(token: str, key: str) -> dict[str, Any]:
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, decode(key))
        claims: dict[str, Any] = jwt.decode(
            token,
            public,
            algorithms=["ES256"],
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (jwt.PyJWTError, ValueError, binascii.Error):
        raise Refusal(403, "the token's signature is not k's") from None
    return claims


def _hkdf(salt: bytes, secret: bytes, context: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, context).derive(secret)


def _entry(endpoint: str, provider_id: str, request: Request, subscription: Subscription | None) -> Entry:
    bare = Entry(address=endpoint, provider_id=provider_id, collapse_id=request.headers.get("topic", ""))
    size = f"{request.body_bytes} bytes"
    if not request.body:
        return replace(bare, note="no payload")
    if subscription is None:
        return replace(bare, note=f"{size}, encrypted for a key the sandbox does not have")
    try:
        text = decrypt(request.body, subscription)
    except ValueError as error:
        return replace(bare, note=f"{size}, the browser would drop it: {error}")
    return _readable(bare, text)


def _readable(bare: Entry, text: bytes) -> Entry:
    """extra: what the service worker was given, which nobody can read in the request."""
    plain = text.decode("utf-8", "replace")
    try:
        payload = msgspec.json.decode(text)
    except msgspec.DecodeError:
        payload = None
    if not isinstance(payload, dict):
        return replace(bare, body=plain, extra={"payload": plain})
    shown = payload.get("notification")
    told = {**payload, **shown} if isinstance(shown, dict) else payload
    words = {k: v for k, v in told.items() if isinstance(v, str)}
    return replace(
        bare,
        title=words.get("title", words.get("subject", "")),
        body=words.get("body", words.get("msg", words.get("message", ""))),
        message_id=words.get("message_id", ""),
        extra={"payload": plain},
    )
