"""Threads and who is subscribed to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.addresses import address
from api.cursor import Page
from api.msgxc.bodies import Body, Codes, SubscribeBody, Tid, UnsubscribeBody, assert_sound, channels_named
from api.msgxc.messages import MessageView, view_of
from api.msgxc.reading import Paging, SeenThread, place_of, thread_for, thread_run_by_caller
from api.route import Answer, Call, Route, Who
from commands.scope import claim_for
from commands.threads import ChangeThread, CloseThread, OpenThread, Subscribe, Unsubscribe
from domain.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.thread import Settings
from projections import messages, threads
from projections.port import Row

GROUP = "threads"
NAMES_MAX = 1_000
"""Admins or publishers of one thread."""


class ThreadBody(Body, frozen=True, kw_only=True):
    """openp: anyone may publish and subscribe; opens: anyone may subscribe. ddata: opts for messages without.

    confidential: the log keeps message content sealed, and the read models leave it out.
    """

    name: Annotated[str, Meta(max_length=256)] = ""
    alias: Annotated[str, Meta(max_length=256)] = ""
    owner: Annotated[str, Meta(max_length=256)] = ""
    admins: Annotated[list[str], Meta(max_length=NAMES_MAX)] = []
    pubs: Annotated[list[str], Meta(max_length=NAMES_MAX)] = []
    openp: bool = False
    opens: bool = False
    mtypes: Codes = None
    ddata: dict[str, Any] = {}
    urgency: Annotated[int, Meta(ge=1, le=4)] = 3
    confidential: bool = False

    def settings(self) -> Settings:
        """Raises Invalid."""
        assert_sound(self.ddata, field="ddata.sound")
        return Settings(
            name=self.name,
            alias=self.alias,
            owner=self.owner,
            admins=tuple(dict.fromkeys(self.admins)),
            publishers=tuple(dict.fromkeys(self.pubs)),
            open_publish=self.openp,
            open_subscribe=self.opens,
            channels=channels_named(self.mtypes),
            defaults=self.ddata,
            urgency=self.urgency,
            confidential=self.confidential,
        )


class NewThreadBody(ThreadBody, frozen=True, kw_only=True):
    """tid: the exchange chooses one if it is left out."""

    tid: Tid | None = None


class ThreadView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """owner, admins, pubs and ddata are shown to those who run the thread."""

    tid: str
    name: str
    alias: str
    openp: bool
    opens: bool
    mtypes: list[str] | None
    urgency: int
    confidential: bool
    subscribed: bool
    created: datetime | None
    updated: datetime | None
    owner: str | None = None
    admins: list[str] | None = None
    pubs: list[str] | None = None
    ddata: dict[str, Any] | None = None


class SubscriberView(msgspec.Struct, frozen=True, kw_only=True):
    uid: str
    mtypes: list[str] | None
    since: datetime | None


async def subscribe(call: Call[SubscribeBody, None]) -> Answer:
    body = call.body
    channels = body.mtypes if body.mtypes is msgspec.UNSET else channels_named(body.mtypes)
    command = Subscribe(tid=body.tid, uid=_whom(call, body.uid), channels=channels)
    return await _execute(call, "subscribe", command, thread=body.tid)


async def unsubscribe(call: Call[UnsubscribeBody, None]) -> Answer:
    command = Unsubscribe(tid=call.body.tid, uid=_whom(call, call.body.uid))
    return await _execute(call, "unsubscribe", command, thread=call.body.tid)


async def open_thread(call: Call[NewThreadBody, None]) -> Answer:
    _assert_owner(call, call.body)
    command = OpenThread(tid=call.body.tid or "", settings=call.body.settings())
    key = call.idempotency_key
    claim = claim_for(key, caller=call.caller, route="threads", thread="", command=command) if key else None
    opened = await call.parts.bus.execute(command, call.context, caller=call.caller, claim=claim)
    return Answer({"tid": opened.tid}, status=201, location=address("/api/v2/threads", opened.tid))


async def put_thread(call: Call[ThreadBody, None]) -> Answer:
    """Change the thread, or open it when there is none. One that exists unseen stays unseen: 404."""
    tid, settings = call.path["tid"], call.body.settings()
    bus = call.parts.bus
    try:
        await bus.execute(ChangeThread(tid=tid, settings=settings), call.context, caller=call.caller)
    except NotFound as unseen:
        _assert_owner(call, call.body)
        try:
            await bus.execute(OpenThread(tid=tid, settings=settings), call.context, caller=call.caller)
        except Conflict:
            raise unseen from None
        return Answer(status=201, location=address("/api/v2/threads", tid))
    return Answer()


async def close_thread(call: Call[None, None]) -> Answer:
    await call.parts.bus.execute(CloseThread(tid=call.path["tid"]), call.context, caller=call.caller)
    return Answer()


async def find(call: Call[None, None]) -> Answer:
    return Answer(_view(call, await thread_for(call, call.path["tid"])))


async def list_threads(call: Call[None, Paging]) -> Answer:
    """Those that the caller may see. A page that would take too long holds fewer than asked for; `next` goes on."""
    parts, caller = call.parts, call.caller
    place = place_of(call, f"threads|{caller.realm}", str)
    contact = parts.ids.contact(caller.realm, caller.uid)
    own = {row["thread"] for row in await threads.of_contact(parts.models, caller.realm, contact)}

    def shown(row: Row) -> bool:
        return threads.settings_of(row).may_see(caller, subscribed=row["thread"] in own)

    rows, after = await threads.listed(
        parts.models, caller.realm, cursor=place.after, limit=call.query.limit, shown=shown
    )
    seen = [SeenThread(threads.settings_of(row), row, row["thread"] in own) for row in rows]
    return Answer(Page([_view(call, one) for one in seen], place.next(after)))


async def list_subscribers(call: Call[None, Paging]) -> Answer:
    seen = await thread_run_by_caller(call, call.path["tid"])
    realm, id = call.caller.realm, seen.row["thread"]
    place = place_of(call, f"subscribers|{realm}|{id}", str)
    rows, after = await threads.members(
        call.parts.models, realm, id, as_of=None, cursor=place.after, limit=call.query.limit
    )
    items = [SubscriberView(uid=row["uid"], mtypes=row["channels"], since=row["since"]) for row in rows]
    return Answer(Page(items, place.next(after)))


async def list_messages(call: Call[None, Paging]) -> Answer:
    """Newest first."""
    seen = await thread_run_by_caller(call, call.path["tid"])
    realm, id, limit = call.caller.realm, seen.row["thread"], call.query.limit
    place = place_of(call, f"messages|{realm}|{id}", int)
    rows = await messages.of_thread(
        call.parts.models,
        realm,
        id,
        since=seen.row["opened"],
        now=call.parts.clock(),
        before=place.after,
        limit=limit,
    )
    after = rows[-1]["accepted_at"] if len(rows) == limit else None
    return Answer(Page([view_of(row, row["totals"] or {}) for row in rows], place.next(after)))


async def _execute(call: Call[Any, Any], route: str, command: msgspec.Struct, *, thread: str) -> Answer:
    key = call.idempotency_key
    claim = claim_for(key, caller=call.caller, route=route, thread=thread, command=command) if key else None
    await call.parts.bus.execute(command, call.context, caller=call.caller, claim=claim)
    return Answer()


def _whom(call: Call[Any, Any], uid: str | None) -> str:
    if uid is None or uid == call.caller.uid:
        return call.caller.uid
    if not call.caller.is_admin:
        raise Forbidden("only admins may name somebody else", field="uid")
    return uid


def _assert_owner(call: Call[Any, Any], body: ThreadBody) -> None:
    if body.owner not in ("", call.caller.uid) and not call.caller.is_admin:
        raise Forbidden("only admins may open a thread for somebody else", field="owner")


def _view(call: Call[Any, Any], seen: SeenThread) -> ThreadView:
    settings, row = seen.settings, seen.row
    runs = seen.settings.is_run_by(call.caller)
    return ThreadView(
        tid=row["tid"],
        name=settings.name,
        alias=settings.alias,
        openp=settings.open_publish,
        opens=settings.open_subscribe,
        mtypes=None if settings.channels is None else list(settings.channels),
        urgency=settings.urgency,
        confidential=settings.confidential,
        subscribed=seen.subscribed,
        created=row["opened"],
        updated=row["changed"],
        owner=settings.owner if runs else None,
        admins=list(settings.admins) if runs else None,
        pubs=list(settings.publishers) if runs else None,
        ddata=settings.defaults if runs else None,
    )


class Opened(msgspec.Struct, frozen=True):
    tid: str


_READS = ("threads",)

MEMBERSHIP_ROUTES = (
    Route(
        method="POST",
        path="/api/v2/subscribe",
        handler=subscribe,
        who=Who.RIGHTS,
        body=SubscribeBody,
        summary="Get a thread's messages from now on, by every channel one allows.",
        group=GROUP,
        idempotent=True,
        errors=(Forbidden, NotFound, Conflict, Unavailable),
    ),
    Route(
        method="POST",
        path="/api/v2/unsubscribe",
        handler=unsubscribe,
        who=Who.RIGHTS,
        body=UnsubscribeBody,
        summary="Get no more of a thread's messages.",
        group=GROUP,
        idempotent=True,
        errors=(Forbidden, NotFound, Unavailable),
    ),
)

ROUTES = (
    Route(
        method="POST",
        path="/api/v2/threads",
        handler=open_thread,
        who=Who.TOKEN,
        body=NewThreadBody,
        answer=Opened,
        statuses=(201,),
        location=True,
        summary="Open a thread; the caller is its owner.",
        group=GROUP,
        idempotent=True,
        errors=(Forbidden, Conflict, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/threads",
        handler=list_threads,
        who=Who.TOKEN,
        query=Paging,
        answer=Page[ThreadView],
        reads=_READS,
        summary="The threads one may see.",
        group=GROUP,
        errors=(Unavailable,),
    ),
    Route(
        method="PUT",
        path="/api/v2/threads/{tid}",
        handler=put_thread,
        who=Who.RIGHTS,
        body=ThreadBody,
        statuses=(200, 201),
        location=True,
        summary="Change a thread (its owner and admins), or open it.",
        group=GROUP,
        errors=(Forbidden, NotFound, Conflict, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/threads/{tid}",
        handler=find,
        who=Who.RIGHTS,
        answer=ThreadView,
        reads=_READS,
        summary="A thread.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
    Route(
        method="DELETE",
        path="/api/v2/threads/{tid}",
        handler=close_thread,
        who=Who.RIGHTS,
        summary="Close a thread for good (its owner and admins).",
        group=GROUP,
        errors=(Forbidden, NotFound, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/threads/{tid}/subscribers",
        handler=list_subscribers,
        who=Who.RIGHTS,
        query=Paging,
        answer=Page[SubscriberView],
        reads=_READS,
        summary="Who is subscribed (for the thread's owner and admins).",
        group=GROUP,
        errors=(Forbidden, NotFound, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/threads/{tid}/messages",
        handler=list_messages,
        who=Who.RIGHTS,
        query=Paging,
        answer=Page[MessageView],
        reads=("threads", "messages"),
        summary="A thread's messages, newest first (for its owner and admins).",
        group=GROUP,
        errors=(Forbidden, NotFound, Unavailable),
    ),
)
