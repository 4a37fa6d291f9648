"""What a message shows on open sockets: one frame, on the subjects of those who may see it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, assert_never
from uuid import UUID

import msgspec

from domain.deliveries.channel import WEBSOCKET
from domain.ids import Ids
from domain.message import Content, Message, ToApp, ToContacts, ToEveryone, ToThread

SYSTEM_SLUG = "/broadcast/system"
"""Every socket follows it."""


class Showing(NamedTuple):
    """The same frame on each of the subjects, in this order. They can be walked through once."""

    subjects: Iterable[str]
    body: bytes


def thread_subject(thread: UUID) -> str:
    return f"feed.thread.{thread.hex}"


def contact_subject(contact: UUID) -> str:
    return f"feed.contact.{contact.hex}"


def system_thread(ids: Ids, realm: str) -> UUID:
    """The thread of broadcasts: every socket of the realm follows it."""
    return ids.derive(realm, "thread", SYSTEM_SLUG)


def showing(ids: Ids, realm: str, message: Message) -> Showing | None:
    """None: no socket shows it. An app's message shows on the app's own clients, never on a socket."""
    content = message.content
    if content is None or message.cancelled or message.app:
        return None
    if message.channels is not None and WEBSOCKET not in message.channels:
        return None
    subjects: Iterable[str]
    match message.audience:
        case ToThread(thread=thread):
            subjects, slug = (thread_subject(thread),), f"/thread/{message.tid}"
        case ToContacts(contacts=contacts):
            subjects, slug = map(contact_subject, contacts), "/contact"
        case ToEveryone():
            subjects, slug = (thread_subject(system_thread(ids, realm)),), SYSTEM_SLUG
        case ToApp():
            return None
        case _:
            assert_never(message.audience)
    return Showing(subjects, _frame(message, content, slug))


def _frame(message: Message, content: Content, slug: str) -> bytes:
    """The JSON that a socket shows, in the original's form: {sender, msg, opts, slug, ok} and the message's id."""
    shown: dict[str, Any] = {
        "sender": {"uid": message.sender},
        "msg": content.text,
        "opts": content.opts,
        "slug": slug,
        "ok": True,
        "mid": str(message.id),
        "subject": content.subject,
    }
    return msgspec.json.encode(shown)
