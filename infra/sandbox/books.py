"""The sandbox's books: every request that came, the messages in it, what was answered.

Owns one SQLite file, written by one thread in groups; a request is answered only after its group is committed, so
whatever was acknowledged is there after SIGKILL. Rows are only ever added. Never judges.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from domain.deliveries import channel as channels

GROUP_MAX = 500
"""Requests per commit: a commit costs about a millisecond, this many rows about ten."""

PAYLOAD_BYTES_KEPT = 65_536
"""Of each request's body, for inspection; the messages themselves are kept whole."""

QUERY_TIMEOUT_S = 10.0

PAGES_MAX = 2_000_000
"""Of 4 KiB: 8 GB, some seven million messages. Then nothing is accepted until the file is moved away."""

PAGE_MAX = 10_000
"""Messages in one answer of the HTTP API: about 3 MB."""

CHANNEL_OF = {
    "apns": channels.APNS,
    "fcm": channels.FCM,
    "webpush": channels.WEBPUSH,
    "twilio": channels.SMS,
    "sendgrid": channels.EMAIL,
    "smtp": channels.EMAIL,
}

DDL = """
CREATE TABLE IF NOT EXISTS requests (
  id INTEGER PRIMARY KEY, provider TEXT NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL,
  headers TEXT NOT NULL, payload BLOB NOT NULL, received_at REAL NOT NULL, status INTEGER, fault TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY, request INTEGER NOT NULL, channel TEXT NOT NULL, provider TEXT NOT NULL,
  address TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, message_id TEXT NOT NULL,
  collapse_id TEXT NOT NULL, provider_id TEXT NOT NULL, sender TEXT NOT NULL, received_at REAL NOT NULL,
  status INTEGER, arrived INTEGER NOT NULL, note TEXT NOT NULL, extra TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS messages_by_channel ON messages (channel, arrived, id);
CREATE INDEX IF NOT EXISTS messages_by_message ON messages (message_id) WHERE message_id <> '';
CREATE INDEX IF NOT EXISTS messages_by_provider_id ON messages (provider_id) WHERE provider_id <> '';
CREATE INDEX IF NOT EXISTS messages_by_cell ON messages (address, id) WHERE provider = 'twilio';
CREATE TABLE IF NOT EXISTS keepsakes (
  kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;
"""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came. status None: it was not answered (fault says how)."""

    provider: str
    method: str
    target: str
    headers: dict[str, str]
    payload: bytes
    received_at: float
    status: int | None
    fault: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one address, as found in a request."""

    address: str
    title: str = ""
    body: str = ""
    message_id: str = ""
    collapse_id: str = ""
    provider_id: str = ""
    sender: str = ""
    note: str = ""
    extra: dict[str, str] = {}


class Item(msgspec.Struct, frozen=True):
    """A booked message. arrived: a person would have got it. received_at: seconds since 1970."""

    id: int
    request: int
    channel: str
    provider: str
    address: str
    title: str
    body: str
    message_id: str
    collapse_id: str
    provider_id: str
    sender: str
    received_at: float
    status: int | None
    arrived: bool
    note: str
    extra: dict[str, str]


ITEM_COLUMNS = ", ".join(field for field in Item.__struct_fields__)

Then = Callable[[OSError | None], None]


class Books:
    """Open with `await Books.open(file)`; close with `await books.aclose()`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox-books")
        self._waiting: list[tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], Then]] = []
        self._writing: asyncio.Future[None] | None = None
        self._next_request = self._next_message = 0
        self._database: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, file: Path) -> Books:
        books = cls(file)
        await books._call(books._open)
        return books

    async def aclose(self) -> None:
        """What was appended is written first."""
        while self._writing:
            await asyncio.wait([self._writing])
        await self._call(self._close)
        self._thread.shutdown()

    def append(self, received: Received, entries: Sequence[Entry], *, arrived: bool, then: Then) -> None:
        """Book a request with its messages; `then` is called on the loop once it is on disk, or has failed.

        Order is kept. Callers bound what is in flight by the requests they admit.
        """
        self._next_request += 1
        request = self._next_request
        rows = [
            self._row(request, received, entry, arrived=arrived) for entry in entries or (Entry(address=""),)
        ]
        self._waiting.append(([_request_row(request, received)], rows, then))
        if self._writing is None:
            self._start_writing()

    async def messages(
        self,
        *,
        channel: str = "",
        after: int | None = None,
        limit: int = 1_000,
        refused: bool = False,
        message_id: str = "",
    ) -> tuple[list[Item], int]:
        """Messages in order of arrival, and how many there are in all.

        after: those behind this id; None: the newest `limit`. refused: also what was refused or never answered.
        """
        where: list[str] = ["1 = 1"]
        values: list[Any] = []
        for column, wanted in (("channel", (channel,)), ("message_id", spellings(message_id))):
            if any(wanted):
                where.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        if not refused:
            where.append("arrived = 1")
        condition = " AND ".join(where)
        limit = max(0, min(limit, PAGE_MAX))
        count = f"SELECT count(*) FROM messages WHERE {condition}"  # noqa: S608  constants only
        page = (
            f"SELECT {ITEM_COLUMNS} FROM messages WHERE {condition} AND id > ? ORDER BY id LIMIT ?"  # noqa: S608
            if after is not None
            else f"SELECT * FROM (SELECT {ITEM_COLUMNS} FROM messages WHERE {condition} AND id > ?"  # noqa: S608
            " ORDER BY id DESC LIMIT ?) ORDER BY id"
        )
        rows = await self.query(page, (*values, after or 0, limit))
        total = await self.query(count, tuple(values))
        return [_item(row) for row in rows], int(total[0][0])

    async def find(self, condition: str, values: tuple[Any, ...], *, limit: int = 1_000) -> list[Item]:
        """Messages by an SQL condition of ours over the message's columns, newest first."""
        rows = await self.query(
            f"SELECT {ITEM_COLUMNS} FROM messages WHERE {condition} ORDER BY id DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [_item(row) for row in rows]

    async def request(self, number: int) -> dict[str, Any] | None:
        """A request as it came, for inspection."""
        names = "id, provider, method, target, headers, payload, received_at, status, fault"
        rows = await self.query(f"SELECT {names} FROM requests WHERE id = ?", (number,))  # noqa: S608
        if not rows:
            return None
        found = dict(zip(names.split(", "), rows[0], strict=True))
        found["headers"] = msgspec.json.decode(found["headers"])
        return found

    async def keep(self, kind: str, id: str, value: object) -> None:
        """A small fact that outlives a restart: a minted subscription, an opt-out."""
        await self._call(self._keep, kind, id, msgspec.json.encode(value).decode())

    async def kept(self, kind: str) -> dict[str, Any]:
        rows = await self.query("SELECT id, value FROM keepsakes WHERE kind = ?", (kind,))
        return {id: msgspec.json.decode(value) for id, value in rows}

    async def query(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(QUERY_TIMEOUT_S):
            return await self._call(self._query, statement, values)

    async def _call[**P, R](self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: function(*args, **kwargs)
        )

    def _start_writing(self) -> None:
        group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._thread, self._write, group)
        thens = [then for _, _, then in group]
        self._writing.add_done_callback(lambda done: self._written(done, thens))

    def _written(self, done: asyncio.Future[None], thens: list[Then]) -> None:
        self._writing = None
        if self._waiting:
            self._start_writing()
        error = done.exception()
        assert error is None or isinstance(error, sqlite3.Error), error
        for then in thens:
            then(OSError(str(error)) if error else None)

    def _row(self, request: int, received: Received, entry: Entry, *, arrived: bool) -> tuple[Any, ...]:
        self._next_message += 1
        return (
            self._next_message,
            request,
            CHANNEL_OF[received.provider],
            received.provider,
            entry.address,
            entry.title,
            entry.body,
            entry.message_id,
            entry.collapse_id,
            entry.provider_id,
            entry.sender,
            received.received_at,
            received.status,
            arrived,
            entry.note,
            msgspec.json.encode(entry.extra).decode(),
        )

    def _open(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.file.touch(mode=0o600)
        database = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        # NORMAL in WAL: a commit survives SIGKILL of the process; only a power cut may lose the last ones.
        database.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA max_page_count={PAGES_MAX};" + DDL
        )
        self._next_request = database.execute("SELECT coalesce(max(id), 0) FROM requests").fetchone()[0]
        self._next_message = database.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
        self._database = database

    def _close(self) -> None:
        assert self._database is not None
        self._database.close()

    def _write(self, group: list[tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], Then]]) -> None:
        assert self._database is not None
        requests = [row for rows, _, _ in group for row in rows]
        messages = [row for _, rows, _ in group for row in rows]
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany("INSERT INTO requests VALUES (?,?,?,?,?,?,?,?,?)", requests)
            self._database.executemany(
                "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", messages
            )
            self._database.execute("COMMIT")
        except sqlite3.Error:
            # A full disk has rolled back by itself.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _keep(self, kind: str, id: str, value: str) -> None:
        assert self._database is not None
        self._database.execute("INSERT OR REPLACE INTO keepsakes VALUES (?,?,?)", (kind, id, value))

    def _query(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        assert self._database is not None
        return self._database.execute(statement, values).fetchall()


def spellings(message_id: str) -> tuple[str, ...]:
    """A message's id without and with its hyphens, as gateways send it and as REST shows it; else as it is."""
    try:
        known = UUID(message_id)
    except ValueError:
        return (message_id,)
    return known.hex, str(known)


def _request_row(request: int, received: Received) -> tuple[Any, ...]:
    return (
        request,
        received.provider,
        received.method,
        received.target,
        msgspec.json.encode(_without_secrets(received.headers)).decode(),
        received.payload[:PAYLOAD_BYTES_KEPT],
        received.received_at,
        received.status,
        received.fault,
    )


def _without_secrets(headers: dict[str, str]) -> dict[str, str]:
    """The credential becomes its fingerprint: one can see whether it changed, not use it."""
    credential = headers.get("authorization")
    if not credential:
        return headers
    scheme, _, secret = credential.partition(" ")
    fingerprint = hashlib.sha256(secret.encode()).hexdigest()[:16]
    return {**headers, "authorization": f"{scheme} sha256:{fingerprint}"}


def _item(row: tuple[Any, ...]) -> Item:
    fields = dict(zip(Item.__struct_fields__, row, strict=True))
    return Item(
        **{**fields, "arrived": bool(fields["arrived"]), "extra": msgspec.json.decode(fields["extra"])}
    )
