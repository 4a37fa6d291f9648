"""One click that ends e-mails (RFC 8058): what the link in a mail's header, and its page, lead to.

A mailbox posts to the link by itself once its owner asks for it; somebody who opens it sees a page with a button, since
programs that look at links must not unsubscribe anybody. No token: the code in the link says that we made it.
"""

from __future__ import annotations

from html import escape

from api.about.docs import content_policy
from api.route import Answer, Call, Handler, Route, Who
from commands.contacts import SuppressChannel
from domain.context import Context
from domain.deliveries.channel import EMAIL
from domain.deliveries.delivery import Receipt
from domain.errors import NotFound, TooLarge, Unavailable
from domain.people.leaving import CODE, Leaver, read_leaving_token

PATH = "/api/v2/leave/"
FORM_BYTES_MAX = 4 * 1024
"""`List-Unsubscribe=One-Click`, as a form of either kind."""

_STYLE = (
    "body{font:18px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}"
    "button{font:inherit;padding:.4rem 1rem}"
)


async def show(call: Call[None, None]) -> Answer:
    _leaver(call)
    words = "Shall we stop sending you e-mails?"
    button = (
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        "<button>Stop e-mails</button></form>"
    )
    return _page(words, button)


async def leave(call: Call[None, None]) -> Answer:
    """The receipt, and no more mails. Done again it changes nothing."""
    leaver, parts = _leaver(call), call.parts
    now = parts.clock()
    receipt = Receipt(
        realm=leaver.realm,
        message=leaver.message,
        channel=EMAIL,
        contact=leaver.contact,
        client=None,
        kind="unsubscribed",
        at=now,
    )
    await parts.receipts.take(receipt)
    context = Context(realm=leaver.realm, actor="one-click", correlation=call.context.correlation)
    stop = SuppressChannel(contact=leaver.contact, channel=EMAIL, code=CODE, said_at=now)
    await parts.bus.execute(stop, context)
    return _page("We will not send you e-mails any more.")


def _leaver(call: Call[None, None]) -> Leaver:
    leaver = read_leaving_token(call.parts.leaving_key, call.path["token"])
    if leaver is None:
        raise NotFound("this link is none of ours, or not whole")
    return leaver


def _page(words: str, more: str = "") -> Answer:
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<title>E-mails</title><style>{_STYLE}</style><p>{escape(words)}</p>{more}</html>"
    )
    policy = content_policy(page).replace("form-action 'none'", "form-action 'self'")
    headers = (
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )
    return Answer(page.encode(), media_type="text/html; charset=utf-8", headers=headers)


def _route(method: str, handler: Handler, summary: str, *, bytes_max: int = 0) -> Route:
    return Route(
        method=method,
        path=f"{PATH}{{token}}",
        handler=handler,
        who=Who.LINK,
        summary=summary,
        group="contacts",
        answer=str,
        media_type="text/html",
        raw_bytes_max=bytes_max,
        errors=(NotFound, TooLarge, Unavailable),
    )


ROUTES = (
    _route("GET", show, "A page that asks whether e-mails shall end."),
    _route("POST", leave, "End e-mails to whom the link was sent (RFC 8058).", bytes_max=FORM_BYTES_MAX),
)
