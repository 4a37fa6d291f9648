"""The connection to Cassandra, seen from asyncio: requests in, rows out, errors translated once.

Owns the driver: its settings, its threads, what is retried, time-outs, and the bridge back to the event loop. Never
knows a table. The driver ends every request within its time-out, so no wait here needs one of its own. Every
statement sent through here may be repeated without harm: writes carry their timestamps.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DependencyException,
    DriverException,
    InvalidRequest,
    RequestValidationException,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    RetryPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.query import BoundStatement, PreparedStatement, SimpleStatement, tuple_factory

from domain.errors import MsgxcError, Unavailable
from infra.readstore import ddl
from infra.readstore.cassandra.config import CassandraConfig, NotLetIn, NotTrusted, WrongDataCentre
from infra.readstore.cassandra.statements import ControlStatements

PROTOCOL_VERSION = 5
CONNECT_S_MAX = 10.0
REQUEST_S_MAX = 10.0
"""Reads and writes take milliseconds; a node that pauses for its own housekeeping may take seconds."""

SCHEMA_S_MAX = 30.0
"""A schema change waits until all nodes agree."""

RECONNECT_S_MAX = 5.0
IN_FLIGHT_MAX = 64
"""Requests of one call that wait for an answer: keeps a node of eight cores busy, and a small one from queueing."""

PREPARED_MAX = 5_000
"""Statements kept: dozens for a table of a generation, by what its rows have. The oldest go first."""

Rows = list[tuple[Any, ...]]


class CassandraSession:
    """Open it before anything else. Errors: Unavailable."""

    def __init__(self, config: CassandraConfig) -> None:
        self._config = config
        self.keyspace = config.keyspace
        self.control = ControlStatements(config.keyspace)
        self._cluster: Cluster | None = None
        self._closed = False
        self._session: Session | None = None
        self._prepared: dict[str, PreparedStatement] = {}
        self._preparing = asyncio.Lock()
        self._answers: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._ringing = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Connect, and make the keyspace and the tables of the store itself where they are missing."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._blocking(self._connect, limit_s=CONNECT_S_MAX * 2 + SCHEMA_S_MAX)
        except BaseException:
            self._closed = True
            raise

    async def aclose(self) -> None:
        self._closed = True
        cluster, self._cluster, self._session = self._cluster, None, None
        if cluster is not None:
            await asyncio.to_thread(cluster.shutdown)

    # Requests

    async def rows(self, statement: BoundStatement) -> Rows:
        """All rows of an answer, however many pages the node makes of it."""
        response, waiting = self._send(statement)
        found: Rows = list(await waiting or ())
        while response.has_more_pages:
            found += await self._next_page(response) or ()
        return found

    async def pages(self, statements: Sequence[BoundStatement]) -> AsyncIterator[Rows]:
        """Pages of all their answers as they come; the next one of each is under way while one is looked at."""
        waiting: dict[asyncio.Future[Any], Any] = {}
        try:
            for statement in statements:
                response, page = self._send(statement)
                waiting[page] = response
            while waiting:
                come, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for page in come:
                    response, rows = waiting.pop(page), page.result()
                    if response.has_more_pages:
                        waiting[self._next_page(response)] = response
                    yield rows or []
        finally:
            await asyncio.gather(*waiting, return_exceptions=True)

    async def run(self, statements: Iterable[Any]) -> list[Any]:
        """Their answers, in order: `IN_FLIGHT_MAX` at a time. The first error is raised when none is under way."""
        sent: list[asyncio.Future[Any]] = []
        try:
            for number, statement in enumerate(statements):
                if number >= IN_FLIGHT_MAX:
                    await sent[number - IN_FLIGHT_MAX]
                sent.append(self._send(statement)[1])
            return [await one for one in sent]
        finally:
            await asyncio.gather(*sent, return_exceptions=True)

    async def rows_of_each(self, statements: Sequence[BoundStatement]) -> list[Rows]:
        """One list of rows per statement, which must each fit in one page of the node's."""
        return [list(rows or ()) for rows in await self.run(statements)]

    async def prepare(self, cql: str) -> PreparedStatement:
        """Prepared once, on every node."""
        known = self._prepared.get(cql)
        if known is not None:
            return known
        async with self._preparing:
            if cql not in self._prepared:
                statement = await self._blocking(self._up.prepare, cql)
                statement.is_idempotent = True
                if len(self._prepared) >= PREPARED_MAX:
                    del self._prepared[next(iter(self._prepared))]
                self._prepared[cql] = statement
            return self._prepared[cql]

    async def schema(self, cql: str) -> None:
        """A schema change; returns when all nodes that are up agree."""
        statement = SimpleStatement(cql, keyspace=self.keyspace)
        await self._blocking(self._up.execute, statement, limit_s=SCHEMA_S_MAX + 5.0)

    def has_table(self, name: str) -> bool:
        return name in self._keyspaces()[self._config.keyspace].tables

    def homes(self) -> Callable[[bytes], object]:
        """Where a key is stored, as known now: two keys with the same home are stored by the same nodes."""
        assert self._cluster is not None
        metadata, keyspace = self._cluster.metadata, self._config.keyspace
        if len(metadata.all_hosts()) <= self._config.rf:
            return lambda _: None
        return lambda routing_key: frozenset(metadata.get_replicas(keyspace, routing_key))

    # Bridge: the driver answers in a thread of its own

    def _send(self, statement: Any) -> tuple[Any, asyncio.Future[Any]]:
        assert self._loop is not None
        waiting = self._loop.create_future()
        try:
            response = self._up.execute_async(statement)
        except (DriverException, NoHostAvailable) as error:
            raise _translated(error) from error
        response.add_callbacks(self._answer, self._fail, (waiting,), None, (waiting,), None)
        return response, waiting

    def _next_page(self, response: Any) -> asyncio.Future[Any]:
        """The driver keeps its call-backs from page to page, and calls new ones at once with a page it has."""
        assert self._loop is not None
        waiting = self._loop.create_future()
        response.clear_callbacks()
        response.start_fetching_next_page()
        response.add_callbacks(self._answer, self._fail, (waiting,), None, (waiting,), None)
        return waiting

    def _answer(self, rows: Any, waiting: asyncio.Future[Any]) -> None:
        self._ring(waiting, rows, None)

    def _fail(self, error: BaseException, waiting: asyncio.Future[Any]) -> None:
        self._ring(waiting, None, error)

    def _ring(self, waiting: asyncio.Future[Any], rows: Any, error: BaseException | None) -> None:
        """In the driver's thread. Waking the event loop costs more than an answer: once for each burst of them."""
        assert self._loop is not None
        self._answers.append((waiting, rows, error))
        if not self._ringing:
            self._ringing = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop has ended; nobody waits any more
                self._answers.clear()

    def _deliver(self) -> None:
        # First the flag: an answer that comes from here on rings again.
        self._ringing = False
        while self._answers:
            waiting, rows, error = self._answers.popleft()
            if waiting.done():
                continue
            if error is None:
                waiting.set_result(rows)
            else:
                waiting.set_exception(_translated(error))

    # The driver

    @property
    def _up(self) -> Session:
        if self._session is None:
            raise Unavailable("the read store is not open")
        return self._session

    async def _blocking(self, call: Any, *arguments: Any, limit_s: float = REQUEST_S_MAX + 5.0) -> Any:
        """Rare calls that the driver only offers blocking: connect, prepare, schema."""
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.to_thread(call, *arguments)
        except (*_CONNECTION_ERRORS, DriverException, TimeoutError, OSError) as error:
            raise _translated(error) from error

    def _connect(self) -> None:
        cluster = _cluster(self._config)
        try:
            session = _connected(cluster, self._config.dc)
            session.use_client_timestamp = False
            self._make_schema(cluster, session)
            if self._closed:  # it took too long, and nobody waits any more
                raise Unavailable("the read store was closed")
        except BaseException:
            cluster.shutdown()
            raise
        self._cluster, self._session = cluster, session

    def _make_schema(self, cluster: Cluster, session: Session) -> None:
        """Only where something is missing: a production user may have no right to change the schema."""
        name = self._config.keyspace
        if name not in cluster.metadata.keyspaces:
            keyspace = ddl.cassandra_keyspace(name, rf=self._config.rf, dc=self._config.dc)
            session.execute(keyspace, timeout=SCHEMA_S_MAX)
        for table, text in ddl.CASSANDRA_CONTROL.items():
            if table not in cluster.metadata.keyspaces[name].tables:
                session.execute(SimpleStatement(text, keyspace=name), timeout=SCHEMA_S_MAX)

    def _keyspaces(self) -> Any:
        assert self._cluster is not None
        return self._cluster.metadata.keyspaces


class OnceMore(RetryPolicy):  # type: ignore[misc]  # the driver has no types
    """One more try, on another node where the first one is the trouble. All our statements may be repeated."""

    def on_read_timeout(self, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        return (self.RETRY, None) if retry_num == 0 else (self.RETHROW, None)

    def on_write_timeout(self, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        return (self.RETRY, None) if retry_num == 0 else (self.RETHROW, None)

    def on_unavailable(self, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        return (self.RETRY_NEXT_HOST, None) if retry_num == 0 else (self.RETHROW, None)

    def on_request_error(self, *_: Any, retry_num: int, **__: Any) -> tuple[int, None]:
        return (self.RETRY_NEXT_HOST, None) if retry_num == 0 else (self.RETHROW, None)


def _cluster(config: CassandraConfig) -> Cluster:
    near = DCAwareRoundRobinPolicy(config.dc) if config.dc else RoundRobinPolicy()
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(near),
        retry_policy=OnceMore(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM if config.rf > 1 else ConsistencyLevel.ONE,
        request_timeout=REQUEST_S_MAX,
        row_factory=tuple_factory,
    )
    context = ssl.create_default_context(cafile=str(config.ca)) if config.ca else None
    return Cluster(
        contact_points=list(config.hosts),
        auth_provider=PlainTextAuthProvider(config.user, config.password) if config.user else None,
        ssl_context=context,
        protocol_version=PROTOCOL_VERSION,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(0.25, RECONNECT_S_MAX),
        connect_timeout=CONNECT_S_MAX,
        control_connection_timeout=CONNECT_S_MAX,
        max_schema_agreement_wait=SCHEMA_S_MAX,
        # Without it the kernel holds the end of a batch back for 40 ms.
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )


def _connected(cluster: Cluster, dc: str) -> Session:
    """dc: as in CassandraConfig. Nodes of another one are not used, as if they were away: only they can tell."""
    try:
        return cluster.connect()
    except NoHostAvailable as error:
        there = {host.datacenter for host in cluster.metadata.all_hosts()} - {None}
        if not dc or not there or dc in there:
            raise
        raise WrongDataCentre(tuple(sorted(there))) from error


_CONNECTION_ERRORS = (
    NoHostAvailable,
    ConnectionException,
    ConnectionBusy,
    UnresolvableContactPoints,
    DependencyException,
)


_OPENSSL = re.compile(r"\[SSL: \w+\] (?P<why>[^(]*\w)")


def _translated(error: BaseException) -> BaseException:
    """Unavailable for whatever keeps the store from answering; a wrong statement of ours stays what it is."""
    ours = isinstance(error, MsgxcError)
    if ours or (isinstance(error, RequestValidationException) and not _is_gone(error)):
        return error
    unavailable = _unavailable(error)
    unavailable.__cause__ = error
    return unavailable


def _unavailable(error: BaseException) -> Unavailable:
    """What a node said that is there, if any: the others may be away, but it is what somebody has to mend."""
    by_node = error.errors if isinstance(error, NoHostAvailable) else {}
    for said in by_node.values() if isinstance(by_node, dict) else ():
        if isinstance(said, AuthenticationFailed):
            return NotLetIn("the read store does not let us in")
        # The driver keeps no more of OpenSSL's error than its text.
        if found := _OPENSSL.search(str(said)):
            return NotTrusted(found["why"])
    return Unavailable("the read store does not answer")


def _is_gone(error: BaseException) -> bool:
    """A generation was dropped under a reader; who reads asks again which one is live."""
    return isinstance(error, InvalidRequest) and (
        "unconfigured table" in str(error) or "does not exist" in str(error)
    )
