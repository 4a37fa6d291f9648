"""The websocket channel's dispatch: one frame a thread or contact on FEED, which open sockets get at once."""

from __future__ import annotations

import asyncio
from itertools import batched
from typing import Any, assert_never
from uuid import UUID

import msgspec

from domain.channel import WEBSOCKET
from domain.ids import Ids
from domain.message import Message, ToApp, ToContacts, ToEveryone, ToThread
from processes.port import Log

FRAMES_AT_ONCE = 300
"""Of a message to named contacts: as many as the log appends together."""
SYSTEM_SLUG = "/broadcast/system"
"""Every socket follows it."""


def thread_subject(thread: UUID) -> str:
    return f"feed.thread.{thread.hex}"


def contact_subject(contact: UUID) -> str:
    return f"feed.contact.{contact.hex}"


def system_thread(ids: Ids, realm: str) -> UUID:
    """The thread of broadcasts: every socket of the realm follows it."""
    return ids.derive(realm, "thread", SYSTEM_SLUG)


async def show(log: Log, ids: Ids, realm: str, message: Message, correlation: str) -> None:
    """Append the message's frames. After a crash perhaps twice: sockets drop a message id they have sent.

    An app's message shows on the app's own clients, never on a socket.
    """
    if message.app or (message.channels is not None and WEBSOCKET not in message.channels):
        return
    match message.audience:
        case ToThread(thread=thread):
            subjects, slug = [thread_subject(thread)], f"/thread/{message.tid}"
        case ToContacts(contacts=contacts):
            subjects, slug = [contact_subject(contact) for contact in contacts], "/contact"
        case ToEveryone():
            subjects, slug = [thread_subject(system_thread(ids, realm))], SYSTEM_SLUG
        case ToApp():
            return
        case _:
            assert_never(message.audience)
    shown = frame(message, slug)
    for some in batched(subjects, FRAMES_AT_ONCE):
        appends = (
            log.feed(subject, shown, message=message.id.hex, correlation=correlation) for subject in some
        )
        await asyncio.gather(*appends)


def frame(message: Message, slug: str) -> bytes:
    """The JSON that a socket shows, in the original's form: {sender, msg, opts, slug, ok} and the message's id."""
    assert message.content is not None
    content = message.content
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
