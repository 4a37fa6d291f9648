"""What browsers report by the links in a notification: received, clicked, a button clicked.

Each call is one receipt on the log before it is answered; a link that is called twice counts twice, as in the original.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from api.doppler.dialect import TEXT
from api.doppler.door import domains_of
from api.doppler.parts import OldLinks, WebDomains
from api.route import Answer, Call, Route, Who
from domain.deliveries.channel import WEBPUSH
from domain.deliveries.delivery import Receipt, ReceiptKind
from domain.errors import Invalid
from domain.notifications.push_links import (
    LINK_CHARS_MAX,
    MONTHS_MAX,
    BadLink,
    ContactLink,
    MessageLink,
    key_name,
    month_of,
    month_of_link,
    open_link,
)
from projections import messages
from projections.statistics import ACTION

GROUP = "web domains"
NAME_MAX = 256
INVALID = "Invalid encrypted data."
_BLOCK_BITS = 128


async def clicked(call: Call[None, None]) -> Answer:
    return await _report(call, "clicked")


async def received(call: Call[None, None]) -> Answer:
    return await _report(call, "delivered")


async def action_clicked(call: Call[None, None]) -> Answer:
    return await _report(call, "clicked", ACTION + call.path["actionName"][:NAME_MAX])


async def _report(call: Call[None, None], kind: ReceiptKind, detail: str = "") -> Answer:
    web = domains_of(call.parts)
    try:
        contact, message = await _opened(call, web)
    except BadLink:
        if web.old_links is None:
            raise Invalid(INVALID) from None
        contact, message = await _opened_old(call, web.old_links)
    if contact.app == message.app and contact.realm == message.realm:
        await call.parts.receipts.take(
            Receipt(
                realm=message.realm,
                message=message.message,
                channel=contact.channel,
                contact=contact.contact,
                client=contact.client,
                kind=kind,
                at=call.parts.clock(),
                detail=detail,
            )
        )
    return Answer(b"", status=202, media_type="text/plain")


async def _opened(call: Call[None, None], web: WebDomains) -> tuple[ContactLink, MessageLink]:
    """Raises BadLink."""
    first, second = call.path["encContactId"], call.path["encMessageId"]
    contact = open_link(first, ContactLink, await _key(call, web, month_of_link(first)))
    message = open_link(second, MessageLink, await _key(call, web, month_of_link(second)))
    return contact, message


async def _key(call: Call[None, None], web: WebDomains, month: int) -> bytes:
    """Raises BadLink for a month that no link is of."""
    now = month_of(call.parts.clock())
    if not now - MONTHS_MAX <= month <= now + 1:
        raise BadLink("no link is of this month")
    key = await web.keys.key(key_name(month), create=False)
    if key is None:
        raise BadLink("no link is of this month")
    return key


async def _opened_old(call: Call[None, None], old: OldLinks) -> tuple[ContactLink, MessageLink]:
    """Links of the original name its own contact, which is none of ours, and a message. Raises Invalid.

    They name no realm: a message's id is one in all realms.
    """
    contact, text = _decrypted(call.path["encContactId"], old), _decrypted(call.path["encMessageId"], old)
    try:
        id = UUID(text)
    except ValueError:
        raise Invalid(INVALID) from None
    app = call.parts.ids.app("")
    realm = await _realm_of(call, id, old)
    # What nobody sent here has nothing to count in: answered as the original does, and not recorded.
    of_message = app if realm else UUID(int=0)
    client = call.parts.ids.derive(realm, "old-push-contact", contact)
    return ContactLink(realm, app, WEBPUSH, client, None), MessageLink(realm, of_message, id, id)


async def _realm_of(call: Call[None, None], message: UUID, old: OldLinks) -> str:
    """Of those that old links are good in; "": a web domain has sent it in none of them."""
    for realm in old.realms:
        row = await messages.find(call.parts.models, realm, message)
        if row is not None and row["app"]:
            return realm
    return ""


def _decrypted(text: str, old: OldLinks) -> str:
    try:
        if len(text) > LINK_CHARS_MAX:
            raise ValueError
        sealed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        # The original's own form; nothing is made in it any more.
        opener = Cipher(algorithms.AES(old.key), modes.CBC(old.iv)).decryptor()
        padded = opener.update(sealed) + opener.finalize()
        unpadder = PKCS7(_BLOCK_BITS).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode("utf-8")
    except (ValueError, binascii.Error):
        raise Invalid(INVALID) from None


def _route(what: str, handler: object, summary: str) -> Route:
    return Route(
        method="POST",
        path=f"/push-contacts/{{encContactId}}/messages/{{encMessageId}}/{what}",
        handler=handler,  # type: ignore[arg-type]
        who=Who.ANYONE,
        dialect=TEXT,
        answer=str,
        media_type="text/plain",
        statuses=(202,),
        summary=summary,
        group=GROUP,
        errors=(Invalid,),
    )


ROUTES: tuple[Route, ...] = (
    _route("clicked", clicked, "A notification was clicked."),
    _route("received", received, "A notification has arrived."),
    _route("actionClick/{actionName}", action_clicked, "A button of a notification was clicked."),
)
