"""Threads and people for tests to send to."""

from __future__ import annotations

from uuid import UUID

from commands.clients import Enlist
from commands.contacts import PutContact
from commands.messaging import Accepted, Draft, Publish, SendToApp
from commands.threads import OpenThread, Subscribe
from domain.client import Client
from domain.context import Context
from domain.thread import Settings
from tests.memory.world import IDS, REALM, World

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


async def take_token(made: World, token: str, *, by: str) -> None:
    """Another app's client, of another contact, registers a push token that is somebody's already."""
    thief = Client.register(
        id=IDS.client(REALM, "other-app", "phone"),
        at=made.clock.now,
        app="other-app",
        client_id="phone",
        contact=IDS.contact(REALM, by),
        uid=by,
        channel="apns",
        address=token,
        token=IDS.token(REALM, "apns", token),
        properties={},
    )
    await made.own.store.save(thief, context=Context(REALM, "test"))
    await made.quiet()


async def publish(made: World, *, tid: str = "news", **draft: object) -> Accepted:
    accepted: Accepted = await made.do(Publish(tid=tid, draft=Draft(**{"text": "hello", **draft})))  # type: ignore[arg-type]
    return accepted


async def join_app(made: World, app: str, uid: str, device: str, *, channel: str = "fcm") -> UUID:
    """A device of the app becomes the contact's (token `t-<device>`), as the apps' own contracts do it."""
    id, contact = IDS.client(REALM, app, device), IDS.contact(REALM, uid)
    store = made.own.store
    client = await store.load(Client, id, fresh=True)
    if client is None:
        client = Client.register(
            id=id,
            at=made.clock(),
            app=app,
            client_id=device,
            contact=None,
            uid=None,
            channel=None,
            address=None,
            token=None,
            properties={},
        )
    token = f"t-{device}"
    client.link(at=made.clock(), contact=contact, uid=uid)
    client.set_address(
        at=made.clock(), channel=channel, address=token, token=IDS.token(REALM, channel, token)
    )
    await store.save(client, context=Context(REALM, "test"))
    return id


async def send_to_app(made: World, app: str, contacts: tuple[str, ...] = (), **draft: object) -> Accepted:
    """contacts: their uids; none: everyone with a client of the app."""
    named = tuple(IDS.contact(REALM, uid) for uid in contacts) or None
    command = SendToApp(app=app, contacts=named, draft=Draft(**{"text": "hello", **draft}))  # type: ignore[arg-type]
    accepted: Accepted = await made.do(command)
    return accepted
