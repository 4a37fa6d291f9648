"""FCM HTTP v1 and its OAuth step, as Google documents them.

Owns POST /token (RFC 7523: a JWT signed by the service account's key) and POST /v1/projects/{p}/messages:send with
Google's checks of a message and its error JSON. Access tokens carry their own proof, so they outlive a restart.
The exchange's message id travels in the message's data: {"message_id": "..."}.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from domain.text.number import whole_number
from infra.sandbox.books import Entry
from infra.sandbox.desk import Answer, Request, Verdict
from infra.sandbox.json_body import decoded, mapping

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  an address
"""The audience google-auth always writes, whatever token_uri the account's file names."""

ASSERTION_LIFE_S_MAX = 3_600
ACCESS_LIFE_S = 3_599
PAYLOAD_BYTES_MAX = 4_096
TTL_S_MAX = 2_419_200
REGISTRATION_TOKEN = re.compile(r"[A-Za-z0-9_:.\-]{4,4096}")
DURATION = re.compile(r"(\d{1,12})(?:\.\d{1,9})?s")
SEND_PATH = re.compile(r"/v1/projects/([^/]+)/messages:send")

REQUEST_FIELDS = frozenset({"message", "validate_only", "validateOnly"})
MESSAGE_FIELDS = frozenset(
    "name data notification android webpush apns fcm_options fcmOptions token topic condition".split()  # noqa: SIM905
)
ANDROID_FIELDS = frozenset(
    {"collapse_key", "collapseKey", "priority", "ttl", "restricted_package_name", "restrictedPackageName"}
    | {"data", "notification", "fcm_options", "fcmOptions", "direct_boot_ok", "directBootOk"}
)
RESERVED_DATA_KEYS = frozenset({"from", "message_type", "collapse_key"})


class Refusal(Exception):
    """fcm: the FcmError code; field: what is wrong, for a BadRequest."""

    def __init__(self, status: int, message: str, *, fcm: str = "", field: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.fcm, self.field = status, message, fcm, field


class Fcm:
    """devices: tokens minted for a project. token_uri: set once the port is known."""

    name = "fcm"
    names: tuple[str, ...] = ("fcm",)
    body_bytes_max = 65_536

    def __init__(
        self,
        *,
        key: rsa.RSAPublicKey,
        client_email: str,
        project: str,
        token_secret: str,
        devices: dict[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key, self._client_email, self._project = key, client_email, project
        self._secret, self._devices, self._clock = token_secret.encode(), devices, clock
        self.token_uri = ""
        self.tokens_issued = 0

    def judge(self, request: Request) -> Verdict:
        if request.path == "/token":
            return Verdict(self._grant(request), unbooked=True)
        body = decoded(request.body)
        message = mapping(body.get("message"))
        entry = _entry(message)
        try:
            name = self._send(request, body, message)
        except Refusal as refused:
            return Verdict(_error(refused), (entry,), (entry.address,))
        if body.get("validate_only", body.get("validateOnly")):
            entry = msgspec.structs.replace(entry, note="validate_only")
        else:
            entry = msgspec.structs.replace(entry, provider_id=name)
        answer = Answer(200, msgspec.json.encode({"name": name}), JSON)
        return Verdict(answer, (entry,), (entry.address,), dry_run=entry.note == "validate_only")

    def refusal(self, status: int, reason: str, address: str = "") -> Answer:
        code = reason or _CODE_OF_STATUS.get(status, "INTERNAL")
        return _error(Refusal(status, _MESSAGE_OF_CODE.get(code, code), fcm=code))

    def _send(self, request: Request, body: dict[str, Any], message: dict[str, Any]) -> str:
        """The name of the message sent."""
        path = SEND_PATH.fullmatch(request.path)
        if not path:
            raise Refusal(404, "Requested entity was not found.")
        if request.method != "POST":
            raise Refusal(405, "Method not allowed.")
        self._check_access(request.headers.get("authorization", ""))
        if path[1] != self._project:
            permission = (
                f"Permission 'cloudmessaging.messages.create' denied on resource 'projects/{path[1]}'"
            )
            raise Refusal(403, permission)
        if request.body_bytes > self.body_bytes_max:
            raise Refusal(413, "Request payload size exceeds the limit.")
        _check_message(body, message)
        if self._devices.get(message.get("token", ""), self._project) != self._project:
            raise Refusal(403, "SenderId mismatch", fcm="SENDER_ID_MISMATCH")
        number = f"0:{int(self._clock() * 1e6)}%{secrets.token_hex(8)}"
        return f"projects/{self._project}/messages/{number}"

    def _check_access(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not self._is_ours(token):
            raise Refusal(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
                "other valid authentication credential. See "
                "https://developers.google.com/identity/sign-in/web/devconsole-project.",
            )

    def _is_ours(self, token: str) -> bool:
        expires_at, _, rest = token.removeprefix("ya29.").partition(".")
        nonce, _, proof = rest.partition(".")
        expires_at_s = whole_number(expires_at)
        if expires_at_s is None or expires_at_s <= self._clock():
            return False
        return hmac.compare_digest(proof.encode(), self._proof(f"{expires_at}.{nonce}").encode())

    def _proof(self, words: str) -> str:
        made = hmac.digest(self._secret, words.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    def _grant(self, request: Request) -> Answer:
        """RFC 7523: an assertion signed by the service account becomes an access token."""
        if request.method != "POST":
            return Answer(405)
        form = {k: v[0] for k, v in parse_qs(request.body.decode("utf-8", "replace")).items()}
        if form.get("grant_type") != GRANT_TYPE:
            return _oauth_error("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                self._key,
                algorithms=["RS256"],
                audience=[self.token_uri, GOOGLE_TOKEN_URI],
                issuer=self._client_email,
                options={"require": ["exp", "iat", "aud", "iss"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidSignatureError:
            return _oauth_error("invalid_grant", "Invalid JWT Signature.")
        except jwt.PyJWTError as error:
            return _oauth_error("invalid_grant", f"Invalid JWT: {error}")
        issued_at, expires_at, now = int(claims["iat"]), int(claims["exp"]), self._clock()
        if not issued_at - 300 <= now < expires_at or expires_at - issued_at > ASSERTION_LIFE_S_MAX:
            return _oauth_error(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim.",
            )
        if not SCOPES & set(str(claims.get("scope", "")).split()):
            return _oauth_error("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        self.tokens_issued += 1
        words = f"{int(now) + ACCESS_LIFE_S}.{secrets.token_urlsafe(16)}"
        token = {"access_token": f"ya29.{words}.{self._proof(words)}", "expires_in": ACCESS_LIFE_S}
        return Answer(200, msgspec.json.encode({**token, "token_type": "Bearer"}), JSON)


JSON = (("content-type", "application/json; charset=UTF-8"),)


def _check_message(body: dict[str, Any], message: dict[str, Any]) -> None:
    _check_names(body, REQUEST_FIELDS, "")
    if not message:
        raise _invalid("message", "Message is not set.")
    _check_names(message, MESSAGE_FIELDS, "message")
    targets = [name for name in ("token", "topic", "condition") if message.get(name)]
    if len(targets) != 1:
        raise _invalid(
            "message", "Recipient of the message is not set." if not targets else "Invalid message."
        )
    token = message.get("token")
    if token is not None and not (isinstance(token, str) and REGISTRATION_TOKEN.fullmatch(token)):
        raise _invalid("message.token", "The registration token is not a valid FCM registration token")
    _check_data(message.get("data"), "message.data")
    notification = message.get("notification", {})
    if not isinstance(notification, dict) or not all(isinstance(v, str) for v in notification.values()):
        raise _invalid("message.notification", "Invalid value at 'message.notification'")
    _check_names(notification, frozenset({"title", "body", "image"}), "message.notification")
    _check_android(message.get("android", {}))
    if _payload_bytes(message) > PAYLOAD_BYTES_MAX:
        raise _invalid("message", "Android message is too big")


def _check_android(android: object) -> None:
    if not isinstance(android, dict):
        raise _invalid("message.android", "Invalid value at 'message.android'")
    _check_names(android, ANDROID_FIELDS, "message.android")
    if (ttl := android.get("ttl")) is not None:
        seconds = DURATION.fullmatch(ttl) if isinstance(ttl, str) else None
        if not seconds:
            raise _invalid(
                "message.android.ttl", f"Invalid value at 'message.android.ttl' (Duration), {ttl!r}"
            )
        if (ttl_s := whole_number(seconds[1])) is None or ttl_s > TTL_S_MAX:
            raise _invalid("message.android.ttl", "Invalid ttl: must be at most 2419200 seconds")
    if str(android.get("priority", "NORMAL")).upper() not in {"NORMAL", "HIGH"}:
        raise _invalid("message.android.priority", "Invalid value at 'message.android.priority'")
    if not isinstance(android.get("collapse_key", ""), str):
        raise _invalid("message.android.collapse_key", "Invalid value at 'message.android.collapse_key'")
    _check_data(android.get("data"), "message.android.data")


def _check_data(data: object, field: str) -> None:
    if data is None:
        return
    if not isinstance(data, dict) or not all(isinstance(v, str) for v in data.values()):
        raise _invalid(field, f"Invalid value at '{field}' (TYPE_STRING)")
    for key in data:
        if key in RESERVED_DATA_KEYS or key.startswith(("google.", "gcm.notification.")):
            raise _invalid(f"{field}[0].key", f"Invalid data payload key: {key}")


def _check_names(given: dict[str, Any], known: frozenset[str], field: str) -> None:
    for name in given:
        if name not in known:
            where = f" at '{field}'" if field else ""
            detail = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            raise _invalid(field, detail, fcm="")


def _payload_bytes(message: dict[str, Any]) -> int:
    parts = [message.get("notification"), message.get("data"), mapping(message.get("android")).get("data")]
    return sum(
        len(key.encode()) + len(value.encode())
        for part in parts
        if isinstance(part, dict)
        for key, value in part.items()
    )


def _entry(message: dict[str, Any]) -> Entry:
    data = {k: v for k, v in mapping(message.get("data")).items() if isinstance(v, str)}
    words = {**data, **{k: v for k, v in mapping(message.get("notification")).items() if isinstance(v, str)}}
    address = message.get("token") or message.get("topic") or message.get("condition")
    android = mapping(message.get("android"))
    return Entry(
        address=address if isinstance(address, str) else "",
        title=words.get("title", words.get("notification.title", "")),
        body=words.get("body", words.get("msg", words.get("notification.body", ""))),
        message_id=data.get("message_id", ""),
        collapse_id=str(android.get("collapse_key", android.get("collapseKey", ""))),
    )


def _invalid(field: str, detail: str, *, fcm: str = "INVALID_ARGUMENT") -> Refusal:
    return Refusal(400, detail, fcm=fcm, field=field)


def _error(refused: Refusal) -> Answer:
    """Google's error body (google.rpc.Status as JSON)."""
    details: list[dict[str, Any]] = []
    if refused.fcm:
        details.append(
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": refused.fcm}
        )
    if refused.status == 400 and refused.field:
        violation = {"field": refused.field, "description": refused.message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    error: dict[str, Any] = {
        "code": refused.status,
        "message": refused.message,
        "status": _STATUS_NAMES.get(refused.status, "UNKNOWN"),
    }
    if details:
        error["details"] = details
    return Answer(refused.status, msgspec.json.encode({"error": error}), JSON)


def _oauth_error(code: str, description: str) -> Answer:
    return Answer(400, msgspec.json.encode({"error": code, "error_description": description}), JSON)


_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_CODE_OF_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "THIRD_PARTY_AUTH_ERROR",
    403: "SENDER_ID_MISMATCH",
    404: "UNREGISTERED",
    429: "QUOTA_EXCEEDED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_MESSAGE_OF_CODE = {
    "INVALID_ARGUMENT": "Request contains an invalid argument.",
    "UNREGISTERED": "Requested entity was not found.",
    "SENDER_ID_MISMATCH": "SenderId mismatch",
    "QUOTA_EXCEEDED": "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute'.",
    "UNAVAILABLE": "The service is currently unavailable.",
    "INTERNAL": "Internal error encountered.",
    "THIRD_PARTY_AUTH_ERROR": "Auth error from APNS or Web Push Service",
}
