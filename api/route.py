"""What a route declares: enough to serve it, to document it and to test who may call it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec
from starlette.types import Scope

from api.access.auth import Identity
from api.access.limits import BODY_BYTES_MAX
from api.parts import Parts
from domain.context import Caller, Context
from domain.errors import Forbidden, MsgxcError

Header = tuple[bytes, bytes]


class Who(enum.Enum):
    """Who may call a route. What else a thread or message asks of the caller, its command or query decides."""

    ANYONE = "anyone, without a token"
    TOKEN = "anyone with a token, for themselves"  # noqa: S105  words, no secret
    RIGHTS = (
        "anyone with a token who has the right on the thread or message; "
        "others get 403, or 404 if they may not even know of it"
    )
    SHOP = (
        "tokens that name the shop in their claim `shops` (a till's role only writes, a merchant's only reads), "
        "and admins; where MSGXC_EZOUT_AUTH is none, anyone on this machine"
    )
    PROVIDER = "the provider, by its signature over the whole request"
    LINK = "whoever has the link: the code in it proves that the exchange made it"
    APP = "tokens that name the app in their claim `apps`, and admins of its realm"
    DEVICE = "an app's SDK, by its client state or contact token; without one it is a device that is new"
    SUPERUSER = "tokens signed by one of MSGXC_DOPPLER_KEYS whose claim isSU is true"
    ADMIN = "tokens with the role admin or msgxc_admin"


@dataclass(frozen=True, slots=True)
class Raw:
    """A request as it came, for those whose signature covers it. headers: by name in lower case."""

    body: bytes
    headers: Mapping[str, str]
    query: str


class Call[Body, Query](msgspec.Struct):
    """One verified, decoded request. caller is nobody ("") for ANYONE. visitor: what `admit` learnt beside.

    route: its method and path, as declared. client: whom it turned out to be about, if the handler says so. remark:
    what else the handler has to say to whoever is told of the call (`Route.noted`). content: what body was read from.
    """

    parts: Parts
    caller: Caller
    context: Context
    path: Mapping[str, str]
    query: Query
    body: Body
    idempotency_key: str = ""
    raw: Raw | None = None
    visitor: Any = None
    route: str = ""
    client: UUID | None = None
    remark: Any = None
    content: bytes = b""


class Answer(msgspec.Struct):
    """value: encoded as JSON, unless it is bytes with a media type of their own. realm: that was written in, where it
    may be another one than the caller's.
    """

    value: Any = True
    status: int = 200
    location: str | None = None
    media_type: str = "application/json"
    headers: tuple[Header, ...] = ()
    realm: str = ""


Handler = Callable[[Call[Any, Any]], Awaitable[Answer]]
Noted = Callable[[Call[Any, Any], int, float], None]
"""Told of a call that was answered: with the status, and the seconds it took. Quick."""
Admit = Callable[[Parts, Scope], Awaitable[Identity]]
"""Who calls, by the headers of the request. Raises Unauthenticated, Forbidden or Unavailable."""


class Dialect(Protocol):
    """How a contract that is not ours reads requests and words refusals."""

    def body(self, kind: Any, content: bytes) -> Any:
        """A body as `kind`. Raises Invalid."""
        ...

    def query(self, kind: type[msgspec.Struct], query: bytes) -> Any:
        """Query parameters as `kind`. Raises Invalid."""
        ...

    @property
    def failure(self) -> type[msgspec.Struct]:
        """What a refusal's body is, as the OpenAPI document says."""
        ...

    @property
    def failure_type(self) -> str:
        """Its media type."""
        ...

    def status(self, kind: type[MsgxcError]) -> int:
        """The status that such an error is answered with."""
        ...

    def refusal(self, error: MsgxcError) -> Answer | None:
        """What the contract answers to an error; None: a problem of ours."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """path: as in Starlette, `/api/v2/threads/{tid}`. body, query, answer: msgspec types.

    reads: projections that the answer comes from; writes of a moment ago are waited for.
    idempotent: takes an Idempotency-Key. errors: beside those every route of its kind can give.
    statuses: of success, the first being the usual one. admit: where a contract has tokens of its own kind.
    body_bytes_max: of a body. body_passed_over: see api.http.body.BodyReader. noted: told of each call that is
    answered. raw_bytes_max: the handler takes the request as it came, with a body of so many bytes at most; 0: it
    does not. dialect: how the contract reads and refuses, where that is not our way.
    """

    method: str
    path: str
    handler: Handler
    who: Who
    summary: str
    group: str
    body: Any = None
    query: type[msgspec.Struct] | None = None
    answer: Any = bool
    statuses: tuple[int, ...] = (200,)
    media_type: str = "application/json"
    errors: tuple[type[MsgxcError], ...] = ()
    reads: tuple[str, ...] = ()
    idempotent: bool = False
    location: bool = False
    admit: Admit | None = None
    body_bytes_max: int = BODY_BYTES_MAX
    body_passed_over: int = 0
    raw_bytes_max: int = 0
    dialect: Dialect | None = None
    noted: Noted | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is served without a token."""
        return self.who in {Who.ANYONE, Who.PROVIDER, Who.LINK}

    @property
    def is_exact(self) -> bool:
        """Whether what it does not take is refused, not passed over: a slip of the pen may forget all devices.

        Others' contracts pass it over, and so does what is open: programs that look at pages and links add their own.
        """
        return self.dialect is None and not self.is_open

    @property
    def refuses_body(self) -> bool:
        return self.is_exact and self.method != "GET" and self.body is None and not self.raw_bytes_max


async def served_raw(_: Call[Any, Any]) -> Answer:
    """The handler of a route that is declared to be documented alone: a raw application serves it."""
    raise AssertionError("served by a raw application")


def assert_may_call(who: Who, caller: Caller) -> None:
    """Raises Forbidden when the route is not for this caller."""
    if who is Who.ADMIN and not caller.is_admin:
        raise Forbidden("this needs a token with the role admin or msgxc_admin")
