"""A connection to NATS that comes back by itself for ever.

nats-py's client, which logs in, reconnects and pings, on links of our own (link.py), with three changes: one
inbox for all answers, with futures and one timer instead of a task each; routes, which hand a subscription's raw
frames to a function at once; and nothing that was not sent before a disconnect is sent after it, so that a request
given up is never carried out later. It knows nothing of streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from infra.configuration.urls import without_userinfo
from infra.nats.wire.errors import Denied, Disconnected, NoAnswer
from infra.nats.wire.frames import Frame, publish_frame, status_of
from infra.nats.wire.link import LinkTransport
from infra.nats.wire.parser import Route

log = structlog.get_logger()

PING_INTERVAL_S = 10
"""A dead link is noticed within three of these."""

RECONNECT_WAIT_S = 0.2
CONNECT_TIMEOUT_S = 5
CONNECT_WAIT_S = 5.0
"""How long a request waits for a lost connection to come back before it gives up, unsent."""

OPEN_S_MAX = 10.0
"""How long the first connection may take; whoever starts us may try again."""

ANSWER_TIMEOUT_S = 5.0
SWEEP_S = 0.1
"""How often waiting requests are checked for their time-out: this much later than promised at most."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where NATS is and how to log in. urls: one or more, separated by commas.

    ca_file: authorities to trust instead of the system's, for servers that speak TLS.
    """

    urls: str
    token: str | None = None
    user: str | None = None
    password: str | None = None
    creds_file: str | None = None
    ca_file: str | None = None
    name: str = "msgxc"

    @property
    def shown(self) -> str:
        """Where it is, for people: without who signs in."""
        return without_userinfo(self.urls)

    def __repr__(self) -> str:
        return f"Endpoint({self.shown!r}, name={self.name!r})"


class _Waiting(msgspec.Struct, frozen=True):
    """An answer to come: one frame, or several (kept in `frames`) up to one with a status."""

    answer: asyncio.Future[list[Frame]]
    deadline: float
    frames: list[Frame] | None

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # whoever gave up waiting need not fetch it


class Connection(Client):
    """Use `connected`, which opens and closes it.

    generation counts the connections made: who saw another number before must check again what it relied on.
    payload_bytes_max: the server's own limit for a message with its headers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generation, self.payload_bytes_max = 0, self.max_payload
        self._routes: dict[bytes, Route] = {}
        self._links = LinkTransport(self._routes)
        self._transport = self._links
        self._waiting: dict[bytes, _Waiting] = {}
        self._inbox = f"_INBOX.{secrets.token_hex(11)}."
        self._asked = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._up = asyncio.Event()
        self._watchers: list[tuple[Callable[[], None]]] = []
        self._last_error: Exception | None = None

    async def open(self, endpoint: Endpoint) -> None:
        await self.connect(
            servers=endpoint.urls.split(","),
            name=endpoint.name,
            token=endpoint.token,
            user=endpoint.user,
            password=endpoint.password,
            user_credentials=endpoint.creds_file,
            tls=ssl.create_default_context(cafile=endpoint.ca_file) if endpoint.ca_file else None,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # seconds; fractions work
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
        )
        await self.route(f"{self._inbox}*", self._on_answer)

    def on_reconnect(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` run after each reconnect; returns what ends that."""
        watcher = (call,)  # its own, even if `call` watches twice
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    @property
    def trouble(self) -> str:
        """The last thing that went wrong, in one line; "" if nothing has."""
        return " ".join(without_userinfo(str(self._last_error or "")).split())

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection, and room for what is to be sent."""
        link = self._links.current
        return link.is_open and not link.is_full

    async def wait_ready(self, timeout_s: float = CONNECT_WAIT_S) -> None:
        """Return once connected, with room to send; raises Disconnected after `timeout_s`."""
        await self.wait_up(timeout_s)
        await self._links.current.room(timeout_s)

    async def wait_up(self, timeout_s: float = CONNECT_WAIT_S) -> None:
        """Return once connected; raises Disconnected after `timeout_s`."""
        if self._links.current.is_open:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while not self._links.current.is_open:
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError:
            raise Disconnected("the log cannot be reached") from None

    async def send(self, frame: bytes) -> None:
        """Hand one or more whole protocol frames to the socket, in one piece. Raises Disconnected (not sent)."""
        await self._wait_room(CONNECT_WAIT_S)
        link = self._links.current
        if not link.is_open:
            raise Disconnected("the log cannot be reached")
        link.write(frame)

    async def tell(self, subject: str, payload: bytes = b"", *, lines: bytes = b"") -> None:
        """Publish without an answer; lost if the connection breaks."""
        await self.send(publish_frame(subject, payload, lines=lines))

    def tell_at_once(self, subject: str, payload: bytes) -> None:
        """As `tell`, without waiting for room: few bytes, which are lost if there is no connection."""
        link = self._links.current
        if link.is_open:
            link.write(publish_frame(subject, payload))

    async def ask(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        lines: bytes = b"",
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Frame:
        """The answer to a request. Raises Disconnected (not sent) or NoAnswer."""
        await self._wait_room(timeout_s)
        return (await self.begin(subject, payload, lines=lines, timeout_s=timeout_s))[0]

    async def ask_many(
        self, subject: str, payload: bytes = b"", *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> list[Frame]:
        """All frames of an answer; the last one carries its status."""
        await self._wait_room(timeout_s)
        return await self.begin(subject, payload, timeout_s=timeout_s, several=True)

    def begin(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        lines: bytes = b"",
        timeout_s: float = ANSWER_TIMEOUT_S,
        before: bytes = b"",
        several: bool = False,
    ) -> asyncio.Future[list[Frame]]:
        """Send a request (after the frames in `before`, in the same write) and return what will be its answer.

        It does not wait for room: look at `is_ready` before. Raises Disconnected (not sent).
        """
        link = self._links.current
        if not link.is_open:
            raise Disconnected("the log cannot be reached")
        loop = asyncio.get_running_loop()
        self._asked += 1
        reply = f"{self._inbox}{self._asked:x}"
        answer = loop.create_future()  # a plain one: a task waits for a subclass at twice the cost
        frame = publish_frame(subject, payload, reply=reply, lines=lines)
        self._waiting[reply.encode()] = _Waiting(answer, loop.time() + timeout_s, [] if several else None)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        link.write(before + frame if before else frame)
        return answer

    async def route(self, subject: str, route: Route, *, group: str = "") -> Subscription:
        """Subscribe; `route` gets each frame as it is read and must neither block nor raise.

        group: of all that subscribe in the same one, each frame goes to one.
        """
        await self.wait_up()
        self._routes[b"%d" % (self._sid + 1)] = route  # the id that subscribe is about to give
        return await self.subscribe(subject, queue=group)

    async def route_surely(self, subject: str, route: Route, *, group: str = "") -> Subscription:
        """As `route`; returns once the server knows, so that whatever is published from now on comes."""
        subscription = await self.route(subject, route, group=group)
        try:
            await self.flush(timeout=CONNECT_TIMEOUT_S)
        except (nats.errors.Error, OSError) as error:
            await self.unroute(subscription)
            raise Disconnected("the log cannot be reached") from error
        return subscription

    async def unroute(self, subscription: Subscription) -> None:
        self._routes.pop(b"%d" % subscription._id, None)  # noqa: SLF001  nats-py gives it no other name
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def _wait_room(self, timeout_s: float) -> None:
        if self._links.current.is_full:
            await self._links.current.room(timeout_s)

    def _on_answer(self, frame: Frame) -> None:
        waiting = self._waiting.get(frame.subject)
        if waiting is None:
            return
        answer, frames = waiting.answer, waiting.frames
        if frames is None:
            frames = [frame]
        else:
            frames.append(frame)
            if not status_of(frame.headers):
                return
        del self._waiting[frame.subject]
        if not answer.done():
            answer.set_result(frames)

    def _sweep(self) -> None:
        """Fail what has waited too long. Called by one timer for all requests."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for reply in [reply for reply, waiting in self._waiting.items() if waiting.deadline <= now]:
            self._waiting.pop(reply).fail(NoAnswer("the log did not answer in time"))
        self._sweeper = loop.call_later(SWEEP_S, self._sweep) if self._waiting else None

    async def _on_reconnected(self) -> None:
        log.info("nats-reconnected", connection=self.generation)
        for (call,) in tuple(self._watchers):
            call()

    async def _on_disconnected(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.fail(NoAnswer("the connection to the log broke"))
        if not self.is_closed:
            log.warning("nats-disconnected", unanswered=len(waiting))

    async def _on_error(self, error: Exception) -> None:
        if not self.generation and "authorization" in str(error).lower():
            raise Denied("the NATS server refuses our token or credentials") from error
        self._last_error = error
        log.debug("nats-error", error=str(error) or type(error).__name__)

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        # Counted before anybody can send on it: what was relied on must be checked first.
        self.generation, self.payload_bytes_max = self.generation + 1, self.max_payload
        self._links.current.open()
        self._up.set()

    async def _attempt_reconnect(self) -> None:
        # What was not written yet is dropped: its sender is told, decides anew, and must not see it happen
        # later. Subscriptions are made again by nats-py from its own list.
        self._links.abort()
        await super()._attempt_reconnect()

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:  # noqa: FBT001, FBT002  nats-py's
        # SUB, UNSUB, PONG. What nats-py has to say while disconnected it says again by itself once connected.
        link = self._links.current
        if link.is_open:
            link.write(cmd)

    async def _flush_pending(self, force_flush: bool = False) -> Any:  # noqa: FBT001, FBT002  nats-py's
        self._pending_data_size = 0  # nothing is ever pending: the link writes at the end of the loop's turn

    async def _process_err(self, err_msg: str) -> None:
        # nats-py closes for good on most errors; a server that shuts down or a clock that is off is no reason.
        if "permissions violation" in err_msg:
            log.error("nats-permissions", error=err_msg)
            return
        await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))


@contextlib.asynccontextmanager
async def connected(endpoint: Endpoint, *, open_s_max: float = OPEN_S_MAX) -> AsyncIterator[Connection]:
    """An open connection, closed at the end. Raises Disconnected if no server answers, or Denied."""
    connection = Connection()
    try:
        try:
            async with asyncio.timeout(open_s_max):
                await connection.open(endpoint)
        except (OSError, nats.errors.Error, TimeoutError) as error:
            reason = f": {connection.trouble}" if connection.trouble else ""
            raise Disconnected(f"no NATS server answers at {endpoint.shown}{reason}") from error
        yield connection
    finally:
        await connection.close()
