"""A service that does what the contract says and no more, in memory, and that can be told to do it wrong.

The replays are developed against it, and shown to fail on each breach. It is no part of what is shipped and decides
nothing about it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Json = dict[str, Any]
KEY = b"contract"
CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "x-client-state",
}
PREFLIGHT = {
    **CORS,
    "access-control-allow-methods": "GET, POST, PUT, DELETE, PATCH",
    "access-control-allow-headers": "content-type, x-client-id, x-client-state, x-contact-token, x-request-order",
}
GEOFENCES: Json = {
    "refreshRadiusRatio": 0.5,
    "groups": [
        {
            "id": "g1",
            "waitInterval": 90.0,
            "geofences": [
                {
                    "id": "f1",
                    "lat": 47.49,
                    "lon": 19.05,
                    "r": 100,
                    "triggers": [
                        {"id": "t1", "type": "ENTER", "action": {"type": "MECustomEvent", "name": "in"}},
                        {
                            "id": "t2",
                            "type": "DWELLING",
                            "loiteringDelay": 30,
                            "action": {"type": "MECustomEvent", "name": "stay"},
                        },
                    ],
                }
            ],
        }
    ],
}
LABELS = {"pinnedMessagesTitle": "Pinned", "emptyStateTitle": "Empty", "emptyStateDescription": "No messages"}


def token_of(claims: Json) -> str:
    """Readable: header.claims.signature, ASCII only."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"kid": "1"}, claims)]
    signed = b".".join(parts)
    signature = urlsafe_b64encode(hmac.digest(KEY, signed, hashlib.sha256)).rstrip(b"=")
    return (signed + b"." + signature).decode()


def claims_of(token: str) -> Json | None:
    """None: not one of ours."""
    try:
        text = token.split(".")[1]
        claims: Json = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (IndexError, ValueError):
        return None
    return claims if token_of(claims) == token else None


@dataclass(slots=True)
class Fault:
    """What happens to the next answers to such requests."""

    method: str
    ending: str
    change: Callable[[Response], Response]
    times: int


@dataclass(slots=True)
class Call:
    """A request, taken apart."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    is_anonymous: bool
    app: str = ""

    @property
    def is_v4(self) -> bool:
        return "ec-client-id" in self.headers

    def header(self, v3: str, v4: str) -> str:
        return self.headers.get(v3, "") or self.headers.get(v4, "")


@dataclass(slots=True)
class Contract:
    apps: set[str] = field(default_factory=lambda: {"APP1", "APP2"})
    clients: dict[tuple[str, str], Json] = field(default_factory=dict)
    """Claims of the client state, by app and client id."""
    events: list[Json] = field(default_factory=list)
    clicked: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """Refresh tokens that are good no more."""
    inbox: list[Json] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def break_next(
        self, method: str, ending: str, change: Callable[[Response], Response], times: int = 1
    ) -> None:
        self.faults.append(Fault(method, ending, change, times))

    def fail(self, method: str, ending: str, status: int, times: int = 1) -> None:
        self.break_next(method, ending, lambda answer: _problem(status), times)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        raw = await request.body()
        call = Call(
            request.method,
            request.url.path,
            dict(request.headers),
            json.loads(raw) if raw else None,
            request.url.query in {"anonymous", "anonymous=true"},
        )
        answer = self._answer(call)
        for fault in self.faults:
            if fault.times and fault.method == call.method and call.path.endswith(fault.ending):
                fault.times -= 1
                answer = fault.change(answer)
                break
        await answer(scope, receive, send)

    def _answer(self, call: Call) -> Response:
        if call.method == "OPTIONS":
            return Response(status_code=204, headers=PREFLIGHT)
        found = re.fullmatch(
            r"(?:/v[345]/(?:apps|domains)|/embedded-messaging/api/v1)/([^/]+)/(.+)", call.path
        )
        if not found or found[1] not in self.apps:
            return _problem(400)
        call.app = found[1]
        handler = self._handlers().get(f"{call.method} {found[2]}")
        return _problem(404) if handler is None else handler(call)

    def _handlers(self) -> dict[str, Callable[[Call], Response]]:
        return {
            "POST client": self._register,
            "PUT client/push-token": self._set_push_token,
            "DELETE client/push-token": self._clear_push_token,
            "POST client/contact": self._link,
            "DELETE client/contact": self._link,
            "POST client/contact-token": self._refresh,
            "POST client/app": self._switch,
            "POST client/events": self._take_events,
            "POST inline-messages": lambda call: _json({"inlineMessages": []}),
            "GET inbox": lambda call: _json({"messages": self.inbox}),
            "GET geo-fences": lambda call: _json(GEOFENCES),
            "GET meta": lambda call: _json({"version": "v1", "labels": LABELS, "design": None}),
            "GET badge-count": lambda call: _json({"version": "v1", "count": 0}),
            "GET messages": lambda call: _json(
                {"version": "v1", "top": 0, "meta": {"categories": []}, "messages": []}
            ),
            "PATCH tags": lambda call: Response(status_code=204),
        }

    def _register(self, call: Call) -> Response:
        """v4: tokens for whoever has none, also when an earlier answer was lost; it asks nowhere else."""
        state = self._client(call)
        state["properties"] = {key: value for key, value in call.body.items() if key != "pushSettings"}
        if call.is_v4 and "ec-contact" not in call.headers:
            state.setdefault("contactField", None)
            return self._with_tokens(call, state)
        return self._with_state(call, 204)

    def _set_push_token(self, call: Call) -> Response:
        if self._is_refused(call):
            return _problem(401)
        for state in self.clients.values():
            if state.get("pushToken") == call.body["pushToken"]:
                del state["pushToken"]
        self._client(call)["pushToken"] = call.body["pushToken"]
        return self._with_state(call, 204)

    def _clear_push_token(self, call: Call) -> Response:
        if self._is_refused(call):
            return _problem(401)
        self._client(call).pop("pushToken", None)
        return self._with_state(call, 204)

    def _link(self, call: Call) -> Response:
        state = self._client(call)
        state["contactField"] = None
        if call.method == "POST" and not call.is_anonymous:
            state["contactField"] = {
                "contactFieldId": call.body.get("contactFieldId", 3),
                "contactFieldValue": call.body.get("contactFieldValue") or "of the openIdToken",
                "contactFieldEncryped": call.body.get("contactFieldEncrypted", False),
            }
        return self._with_tokens(call, state)

    def _refresh(self, call: Call) -> Response:
        claims = claims_of(str((call.body or {}).get("refreshToken")))
        if claims is None or call.body["refreshToken"] in self.ended:
            return _problem(400)
        return self._with_state(
            call, 200, {"contactToken": token_of({"contactReference": claims["refreshes"]})}
        )

    def _switch(self, call: Call) -> Response:
        state = self.clients.pop((call.app, _client_id(call)), {})
        call.app = call.body["to"]
        self.clients[call.app, _client_id(call)] = {**state, "applicationCode": call.app}
        return self._with_tokens(call, self._client(call))

    def _take_events(self, call: Call) -> Response:
        if not self._may(call):
            return _problem(401)
        self.events += call.body["events"]
        for event in call.body["events"]:
            if event["name"].endswith("push:click"):
                self.clicked.append(
                    event.get("trackingInfo") or (event.get("attributes") or {}).get("sid", "")
                )
        return self._with_state(call, 204)

    def _is_refused(self, call: Call) -> bool:
        """A bad contact token; none at all is fine: Android has none between two apps."""
        return bool(call.header("x-contact-token", "ec-contact")) and not self._may(call)

    def _may(self, call: Call) -> bool:
        return claims_of(call.header("x-contact-token", "ec-contact")) is not None

    def _client(self, call: Call) -> Json:
        fresh = {"clientId": _client_id(call), "applicationCode": call.app}
        return self.clients.setdefault((call.app, _client_id(call)), fresh)

    def _with_tokens(self, call: Call, state: Json) -> Response:
        who = json.dumps([state["clientId"], state["contactField"]])
        state["contactReference"] = hashlib.sha256(who.encode()).hexdigest()
        tokens = {
            "contactToken": token_of({"contactReference": state["contactReference"]}),
            "refreshToken": token_of({"refreshes": state["contactReference"], "at": len(self.events)}),
        }
        return self._with_state(call, 200, tokens)

    def _with_state(self, call: Call, status: int, body: Json | None = None) -> Response:
        name = "EC-Client-State" if call.is_v4 else "X-Client-State"
        answer = Response(status_code=status) if body is None else _json(body, status)
        answer.headers.update({**CORS, name: token_of(self._client(call))})
        return answer


def _client_id(call: Call) -> str:
    return call.header("x-client-id", "ec-client-id")


def _json(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body), status, CORS, "application/json")


def _problem(status: int) -> Response:
    """One body that both families of SDKs can read."""
    error = {"code": str(status), "message": "no", "target": "", "details": []}
    return _json({"error": error}, status)
