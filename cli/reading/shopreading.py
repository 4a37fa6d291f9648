"""Reading a shop's archive from a command: its last messages, what follows, and all of it into files.

Owns the forms of a message outside of the exchange: a line for people, the lines that the API exports, and a table's
row. Amounts are exact in each; a table's columns of amounts have 18 decimals, and `data` what was published.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import typer

from api.ezout.frames import StreamIds
from cli.console import Failure, note, print_json, progress
from cli.reading.export import JsonLines, Output, ParquetParts, begin
from cli.reading.logreading import Fact, place_of, read_range, reading
from cli.session import Session
from domain.ids import Ids
from domain.recorded import SHOPS, Checkpoint, Recorded
from domain.shop import Addressed, ShopMessage, Update, encode, happened, plain
from infra.log.log import JetStreamLog
from infra.log.shops import shop_subject

BATCH = 500
WINDOW = 1_000
"""Positions looked at backwards for the last messages; four times as many each time, since shops are many."""
_DECIMALS, _DIGITS = Decimal(1).scaleb(-18), Context(prec=38)

COLUMNS = (
    *("position", "published", "type", "create_time", "action", "action_id", "session_id", "shopper_id"),
    *("product_id", "product_name", "product_price", "UPC", "category_id", "basket_total", "data"),
)

Row = dict[str, Any]
Shown = Callable[[Recorded, ShopMessage], Row]


class Wanted(msgspec.Struct, frozen=True):
    """after <= when it happened < before."""

    shop: UUID
    actions: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None

    @property
    def name(self) -> str:
        """Of an output: one of other wishes is another output."""
        narrowed = msgspec.json.encode((self.actions, self.after, self.before))
        plain = msgspec.json.encode(((), None, None))
        return f"shop-{self.shop}" + (f"-{sha256(narrowed).hexdigest()[:8]}" if narrowed != plain else "")

    def shows(self, fact: Fact) -> bool:
        if not isinstance(fact, Recorded):
            return False
        created = _created(fact)
        return (
            (not self.actions or (isinstance(fact.body, Update) and fact.body.action in self.actions))
            and (self.after is None or created >= self.after)
            and (self.before is None or created < self.before)
        )


async def tail_shop(session: Session, wanted: Wanted, count: int, *, follow: bool, as_json: bool) -> None:
    async with reading(session) as log:
        start = Checkpoint(SHOPS, await log.end(SHOPS), await log.epoch(SHOPS))
        show = _printer(_as_exported(session, wanted.shop, start.epoch) if as_json else None)
        last = await _last(log, wanted, start.position, count)
        for fact in last:
            show(fact)
        if count and not last:
            note(_nothing(wanted))
        if follow:
            async for batch in log.follow(SHOPS, start, subjects=(shop_subject(wanted.shop),), batch=BATCH):
                for fact in filter(wanted.shows, batch):
                    show(fact)


async def export_shop(session: Session, wanted: Wanted, form: str, out: Path | None) -> None:
    output, unreadable = _output(form, out), 0
    async with reading(session) as log:
        epoch = await log.epoch(SHOPS)
        row = _as_exported(session, wanted.shop, epoch) if form == "jsonl" else _as_row
        after = await begin(output, log, SHOPS, wanted.name)
        last = await log.js.leader_get(SHOPS, last_by_subj=shop_subject(wanted.shop))
        if last is None:
            note(_nothing(wanted))
        until = last.sequence if last is not None else 0
        with progress(f"exporting {wanted.shop}") as advance:
            advance(0, max(0, until - after))
            async for batch in _range(log, wanted.shop, after, until):
                unreadable += sum(1 for fact in batch if not isinstance(fact, Recorded))
                rows = [row(fact, body) for fact, body in _shown(batch, wanted)]
                output.write(rows, await place_of(log, SHOPS, batch[-1]))
                advance(batch[-1].position - after)
    output.end()
    if unreadable:
        raise Failure(f"{unreadable} messages that were published past the exchange were left out")
    if out is not None:
        note(f"{wanted.shop} up to {until} is in {out}")


def _nothing(wanted: Wanted) -> str:
    """A shop is known by what it publishes alone: one that is mistyped has published nothing."""
    said = f"nothing has been published of shop {wanted.shop}"
    return said + (f" with the action {' or '.join(wanted.actions)}" if wanted.actions else "")


def _shown(batch: Sequence[Fact], wanted: Wanted) -> list[tuple[Recorded, ShopMessage]]:
    return [
        (fact, fact.body)
        for fact in batch
        if wanted.shows(fact) and isinstance(fact, Recorded) and isinstance(fact.body, Update | Addressed)
    ]


def _range(log: JetStreamLog, shop: UUID, after: int, until: int) -> AsyncIterator[list[Fact]]:
    return read_range(log, SHOPS, after=after, until=until, subjects=(shop_subject(shop),))


async def _last(log: JetStreamLog, wanted: Wanted, end: int, count: int) -> Sequence[Fact]:
    """The newest ones that are wanted, oldest first."""
    found: list[Fact] = []
    until, window = end, WINDOW
    while until > 0 and len(found) < count:
        after = max(0, until - window)
        stored = await log.js.read(SHOPS, shop_subject(wanted.shop), seq=after + 1, limit=1)
        page: list[Fact] = []
        if stored and stored[0].sequence <= until:
            last = await log.js.leader_get(SHOPS, last_by_subj=shop_subject(wanted.shop))
            bound = min(until, last.sequence if last is not None else until)
            async for batch in _range(log, wanted.shop, after, bound):
                page += filter(wanted.shows, batch)
        found, until, window = page + found, after, window * 4
    return found[-count:] if count else []


def _output(form: str, out: Path | None) -> Output:
    match form:
        case "parquet" if out is None:
            raise Failure("parquet is written into a folder: add --out FOLDER")
        case "parquet":
            assert out is not None
            return ParquetParts(out, table=_table)
        case "csv":
            return JsonLines(
                out, form=form, encode=_csv, head=_csv([dict(zip(COLUMNS, COLUMNS, strict=True))])
            )
        case _:
            return JsonLines(out)


def _as_exported(session: Session, shop: UUID, epoch: str) -> Shown:
    """As the API's export has it; `id` is where a stream of the API goes on."""
    give = StreamIds(Ids(session.keyring.id_key), shop, epoch).give

    def shown(fact: Recorded, message: ShopMessage) -> Row:
        return {"type": _kind(message), "id": give(fact.position), "data": msgspec.Raw(encode(message))}

    return shown


def _as_row(fact: Recorded, message: ShopMessage) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"position": fact.position, "published": fact.at.astimezone(UTC), "type": _kind(message)}
    row |= {"session_id": message.session_id, "data": encode(message).decode()}
    if isinstance(message, Update):
        row |= {name: getattr(message, name.lower()) for name in COLUMNS[4:-1]}
        row |= {"create_time": message.created, "category_id": str(message.category_id)}
        row |= {name: plain(row[name]) for name in ("product_price", "basket_total")}
    return row


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["" if row[name] is None else _cell(row[name]) for name in COLUMNS] for row in rows])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case _:
            return value


def _table(rows: Sequence[Row]) -> Any:
    import pyarrow as pa

    moment, amount = pa.timestamp("us", tz="UTC"), pa.decimal128(38, 18)
    kinds = {name: pa.int64() for name in ("position", "action_id", "product_id")}
    kinds |= dict.fromkeys(("published", "create_time"), moment)
    kinds |= dict.fromkeys(("product_price", "basket_total"), amount)
    columns = {
        name: pa.array([_arrow(row[name]) for row in rows], kinds.get(name, pa.string())) for name in COLUMNS
    }
    return pa.table(columns)


def _arrow(value: Any) -> Any:
    match value:
        case Decimal():
            return value.quantize(_DECIMALS, ROUND_HALF_EVEN, _DIGITS)
        case UUID():
            return str(value)
        case _:
            return value


def _printer(shown: Shown | None) -> Callable[[Fact], None]:
    def show(fact: Fact) -> None:
        assert isinstance(fact, Recorded)
        assert isinstance(fact.body, Update | Addressed)
        if shown is not None:
            print_json(shown(fact, fact.body))
        else:
            typer.echo(f"{_created(fact):%Y-%m-%d %H:%M:%S}  {fact.position:>9}  {_said(fact.body)}")

    return show


def _said(message: ShopMessage) -> str:
    if isinstance(message, Addressed):
        whom = f"session {message.session_id}" if message.session_id else "the shop"
        return _clear(f"to {whom}: {msgspec.json.encode(message.data).decode()}")
    price, total = format(plain(message.product_price), "f"), format(plain(message.basket_total), "f")
    return _clear(
        f"{message.action:<8} {message.product_name} ({message.product_id}) {price}  "
        f"basket {total}  session {message.session_id}"
    )


def _clear(text: str) -> str:
    """One line, whatever a till has written: nothing of it acts on a terminal or looks like another line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _kind(message: ShopMessage) -> str:
    return "message" if isinstance(message, Addressed) else "update"


def _created(fact: Recorded) -> datetime:
    assert isinstance(fact.body, Update | Addressed)
    return happened(fact.body, fact.at)
