"""Threads and people for tests to send to."""

from __future__ import annotations

from commands.clients import Enlist
from commands.contacts import PutContact
from commands.messaging import Accepted, Draft, Publish
from commands.threads import OpenThread, Subscribe
from domain.thread import Settings
from tests.memory.world import World

OWNER = "boss"


async def open_thread(made: World, tid: str = "news") -> None:
    await made.do(OpenThread(tid=tid, settings=Settings(owner=OWNER)))


async def subscribe(
    made: World, *uids: str, tid: str = "news", phone: bool = False, mail: bool = False
) -> None:
    """Each with an iPhone (token `t-<uid>`) and an e-mail address if asked for."""
    for uid in uids:
        if mail:
            await made.do(PutContact(uid=uid, email=f"{uid}@example.org"))
        if phone:
            await enlist(made, uid, f"t-{uid}")
        await made.do(Subscribe(tid=tid, uid=uid))


async def enlist(made: World, uid: str, token: str, *, channel: str = "apns") -> None:
    await made.do(Enlist(uid=uid, channel=channel, identity=token, address=token))


async def publish(made: World, *, tid: str = "news", **draft: object) -> Accepted:
    accepted: Accepted = await made.do(Publish(tid=tid, draft=Draft(**{"text": "hello", **draft})))  # type: ignore[arg-type]
    return accepted
