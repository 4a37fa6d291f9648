"""Messages from an app or a web domain to its own clients, and the key that browsers subscribe to it by."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.msgxc.bodies import Uid, Writing
from api.route import Answer, Call, Route, Who
from commands.messaging import CONTACTS_MAX, Accepted, Draft, SendToApp
from commands.scope import claim_for
from domain.app import AppFacts
from domain.errors import ClaimMismatch, Conflict, Forbidden, NotFound, TooLarge, Unavailable
from domain.notifications.push import KEY, Action, PushContent

GROUP = "apps"


class ActionBody(Action, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class PushBody(PushContent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tap: ActionBody | None = None
    actions: tuple[ActionBody, ...] = ()


class AppMessageBody(Writing, frozen=True, kw_only=True):
    """uids: only these contacts; null: everyone with a client of the app. push: what the notification shows and does
    beside title (`subject`) and text (`msg`), whatever SDK reads it.
    """

    msg: Annotated[str, Meta(min_length=1, description="The text.")]
    uids: Annotated[list[Uid], Meta(min_length=1, max_length=CONTACTS_MAX)] | None = None
    push: PushBody | None = None

    def draft(self) -> Draft:
        draft = super().draft()
        if self.push is None:
            return draft
        return msgspec.structs.replace(draft, opts={**draft.opts, KEY: msgspec.to_builtins(self.push)})


class VapidKey(msgspec.Struct, frozen=True):
    """public_key: what a page gives to pushManager.subscribe as applicationServerKey."""

    public_key: str


async def send(call: Call[AppMessageBody, None]) -> Answer:
    app = await _app(call)
    contacts = None
    if call.body.uids is not None:
        contacts = tuple(call.parts.ids.contact(app.realm, uid) for uid in call.body.uids)
    asked = SendToApp(app=app.code, contacts=contacts, draft=call.body.draft())
    key = call.idempotency_key
    # Of what the caller says alone: the app's settings may be others when the call is repeated.
    claim = (
        claim_for(key, caller=call.caller, route="send-to-app", thread=app.code, command=asked)
        if key
        else None
    )
    settings = app.settings
    command = msgspec.structs.replace(asked, style=settings.push_style, is_on=settings.may_push)
    accepted: Accepted = await call.parts.bus.execute(command, call.context, caller=call.caller, claim=claim)
    return Answer(location=f"/api/v2/messages/{accepted.message}")


async def vapid(call: Call[None, None]) -> Answer:
    app = await _app(call)
    return Answer(VapidKey(await call.parts.vapid.public_key(app.id)))


async def _app(call: Call[Any, Any]) -> AppFacts:
    """The app of the path, for those who may send in its name; to others nothing is told of it."""
    code = call.path["code"]
    if not call.caller.may_send_for(code):
        raise Forbidden("your token does not name this app in its claim `apps`", field="code")
    app = await call.parts.apps.app(code)
    if app is None or app.realm != call.caller.realm:
        raise NotFound(f"no app has the code {code!r}", field="code")
    return app


ROUTES = (
    Route(
        method="POST",
        path="/api/v2/apps/{code}/messages",
        handler=send,
        who=Who.APP,
        body=AppMessageBody,
        summary="Send a message to an app's clients: everybody's, or some contacts'.",
        group=GROUP,
        idempotent=True,
        location=True,
        errors=(Forbidden, NotFound, Conflict, TooLarge, ClaimMismatch, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/apps/{code}/vapid",
        handler=vapid,
        who=Who.APP,
        answer=VapidKey,
        summary="The key that the app's pages subscribe to web push by; the same for ever.",
        group=GROUP,
        errors=(Forbidden, NotFound, Unavailable),
    ),
)
