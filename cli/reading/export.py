"""Facts out of the log into files, resumable: each output says how far it is, and whose log it came from.

jsonl, cloudevents   one file, and FILE.position beside it; what was written beyond it is cut off on resuming
parquet              a folder of parts, each named by the positions it covers; a part appears whole, and one beyond
                     what position.json says is written anew
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from cli.console import Failure, note, progress
from cli.failures import naming
from cli.reading.facts import Shown, cloud_event, shown
from cli.reading.logreading import Fact, assert_within, matching, place_of, read_range, reading
from cli.session import Session
from domain.recorded import Checkpoint, Recorded
from infra.log.log import JetStreamLog
from processes.port import LogMismatch

PART_FACTS = 50_000
"""Rows of one Parquet part: some 20 MB, and what is written again after an interruption."""


class Wanted(msgspec.Struct, frozen=True):
    stream: str
    after: int
    until: int | None
    topics: tuple[str, ...]
    personal: bool


class Place(msgspec.Struct, frozen=True):
    """How far an output is: facts up to `position`, the last one with this digest, in its first `size` bytes.

    stream: what it is of; a shop's messages have a name of their own. form: of its lines. parts: how many it has.
    digest and form "", parts 0: of before they were told.
    """

    stream: str
    epoch: str
    position: int
    size: int = 0
    digest: str = ""
    form: str = ""
    parts: int = 0


class Output(Protocol):
    def begin(self, stream: str, epoch: str) -> Place:
        """How far it is already."""
        ...

    def write(self, rows: list[Shown], until: Checkpoint) -> None: ...
    def end(self) -> None: ...


async def begin(output: Output, log: JetStreamLog, stream: str, name: str = "") -> int:
    """The position up to which it is written already. Raises Failure when it was of something else."""
    place = output.begin(name or stream, await log.epoch(stream))
    try:
        await log.assert_continues(Checkpoint(stream, place.position, place.epoch, place.digest))
    except LogMismatch as mismatch:
        raise Failure(
            f"the output is of another log, or of more of this one ({mismatch}): choose another --out"
        ) from None
    return place.position


async def export_facts(session: Session, wanted: Wanted, form: str, out: Path | None) -> None:
    output = _output(form, out)
    matches = matching(wanted.topics)
    unreadable = 0
    async with reading(session) as log:
        epoch, end = await log.epoch(wanted.stream), await log.end(wanted.stream)
        until = end if wanted.until is None else wanted.until
        assert_within(wanted.after, end, wanted.stream, option="--after")
        assert_within(until, end, wanted.stream, option="--until")
        after = max(wanted.after, await begin(output, log, wanted.stream))
        with progress(f"exporting {wanted.stream}") as advance:
            advance(0, max(0, until - after))
            async for batch in read_range(log, wanted.stream, after=after, until=until):
                unreadable += sum(1 for fact in batch if not isinstance(fact, Recorded))
                rows = [_row(fact, wanted, form, epoch) for fact in batch if matches(fact)]
                output.write(rows, await place_of(log, wanted.stream, batch[-1]))
                advance(batch[-1].position - after)
    output.end()
    if unreadable:
        raise Failure(f"{unreadable} facts could not be read and were left out; msgxc doctor says more")
    if out is not None:
        note(f"{wanted.stream} up to {until} is in {out}")


def _row(fact: Fact, wanted: Wanted, form: str, epoch: str) -> Shown:
    told = shown(fact, personal=wanted.personal)
    return cloud_event(told, epoch) if form == "cloudevents" else told


def _output(form: str, out: Path | None) -> Output:
    if form == "parquet":
        if out is None:
            raise Failure("parquet is written into a folder: add --out FOLDER")
        return ParquetParts(out)
    return JsonLines(out, form=form)


class JsonLines:
    """One JSON object per line, or lines of another form; without a file, on standard output."""

    def __init__(
        self,
        path: Path | None,
        *,
        form: str = "jsonl",
        encode: Callable[[Sequence[Shown]], bytes] | None = None,
        head: bytes = b"",
    ) -> None:
        """form: its name. encode: another form of lines than JSON. head: what a new output begins with."""
        self._path, self._form, self._encode, self._head = path, form, encode or _json_lines, head
        self._file: BinaryIO = sys.stdout.buffer
        self._place = Place("", "", 0)

    def begin(self, stream: str, epoch: str) -> Place:
        self._place = Place(stream, epoch, 0, form=self._form)
        if self._path is None:
            self._file.write(self._head)
            return self._place
        if self._path.is_dir():
            raise Failure(f"{self._path} is a folder: name a file by --out")
        if self._path.exists():
            self._place = _read_place(self._note, self._place)
            if self._path.stat().st_size < self._place.size:
                raise Failure(f"{self._path} has lost its end since it was written: choose another --out")
        self._file = self._path.open("ab")
        # From the first byte on: what is interrupted, or finds the disk full, can be gone on with.
        _write_place(self._note, self._place)
        with naming(self._path):
            self._file.truncate(self._place.size)
            if self._place.size == 0:
                self._file.write(self._head)
        return self._place

    def write(self, rows: list[Shown], until: Checkpoint) -> None:
        if self._path is None:
            self._file.write(self._encode(rows))
            return
        with naming(self._path):
            self._file.write(self._encode(rows))
            self._file.flush()
        self._place = msgspec.structs.replace(
            self._place, position=until.position, size=self._file.tell(), digest=until.digest
        )
        _write_place(self._note, self._place)

    def end(self) -> None:
        self._file.flush()
        if self._path is not None:
            self._file.close()

    @property
    def _note(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + ".position")


class ParquetParts:
    """Parts `EVENTS-<first>-<last>.parquet`. Data is JSON text: its form differs from topic to topic."""

    def __init__(self, folder: Path, *, table: Callable[[Sequence[Shown]], Any] | None = None) -> None:
        """table: the rows as a pyarrow Table, of what are no facts of EVENTS and DELIVERY."""
        self._folder, self._table = folder, table or _table
        self._rows: list[Shown] = []
        self._place = Place("", "", 0)
        self._until: Checkpoint | None = None

    def begin(self, stream: str, epoch: str) -> Place:
        _pyarrow()
        if self._folder.exists() and not self._folder.is_dir():
            raise Failure(f"{self._folder} is no folder: name one by --out")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._place = _read_place(self._folder / "position.json", Place(stream, epoch, 0))
        named = re.compile(rf"{re.escape(stream)}-(?P<first>\d{{12,}})-\d{{12,}}\.parquet")
        parts = {path: found for path in self._folder.iterdir() if (found := named.fullmatch(path.name))}
        unnoted = [path for path, found in parts.items() if int(found["first"]) > self._place.position]
        if len(parts) - len(unnoted) < self._place.parts:
            raise Failure(f"{self._folder} has lost parts since they were written: choose another --out")
        _write_place(self._folder / "position.json", self._place)
        # Killed before it could say so, whoever wrote them: their facts are written anew, in parts of other names.
        for path in unnoted:
            path.unlink()
        return self._place

    def write(self, rows: list[Shown], until: Checkpoint) -> None:
        self._rows += rows
        self._until = until
        if len(self._rows) >= PART_FACTS:
            self._flush(until)

    def end(self) -> None:
        if self._until is not None:
            self._flush(self._until)

    def _flush(self, until: Checkpoint) -> None:
        if self._rows:
            first, last = self._rows[0]["position"], self._rows[-1]["position"]
            path = self._folder / f"{self._place.stream}-{first:012d}-{last:012d}.parquet"
            temporary = path.with_suffix(".unfinished")
            from pyarrow import parquet

            with naming(temporary):
                parquet.write_table(self._table(self._rows), temporary)
            temporary.replace(path)
        self._place = msgspec.structs.replace(
            self._place,
            position=until.position,
            digest=until.digest,
            parts=self._place.parts + bool(self._rows),
        )
        self._rows = []
        _write_place(self._folder / "position.json", self._place)


def _read_place(path: Path, fresh: Place) -> Place:
    """Where an earlier export stopped. Raises Failure when it was of something else."""
    if not path.exists():
        if _output_without_note(path):
            raise Failure(
                f"{path} is missing, so it is not known how far the output is: choose another --out"
            )
        return fresh
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Place)
    except msgspec.DecodeError:
        raise Failure(f"{path} does not say how far the output is: choose another --out") from None
    if found.stream != fresh.stream:
        raise Failure(
            f"{path} is of {found.stream}, and {fresh.stream} is asked for (a name's end stands for its filters): "
            "choose another --out"
        )
    if found.form and found.form != fresh.form:
        raise Failure(f"{path} is of {found.form}, and {fresh.form} is asked for: choose another --out")
    if found.epoch != fresh.epoch:
        raise Failure(
            f"{path} is of {found.stream} in another log, or of before a restore: choose another --out"
        )
    return found


def _output_without_note(note_path: Path) -> bool:
    """Whether there is output whose note is gone."""
    if note_path.name == "position.json":
        return any(note_path.parent.glob("*.parquet"))
    return note_path.with_name(note_path.name.removesuffix(".position")).exists()


def _write_place(path: Path, place: Place) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(msgspec.json.encode(place))
    temporary.replace(path)


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise Failure("Parquet needs pyarrow: pip install 'msgxc[analytics]'") from error
    return pa


def _json_lines(rows: Sequence[Shown]) -> bytes:
    return b"".join([msgspec.json.encode(row) + b"\n" for row in rows])


def _table(rows: Sequence[Shown]) -> Any:
    columns = {
        name: [_cell(row.get(name)) for row in rows]
        for name in (
            "stream",
            "position",
            "topic",
            "time",
            "realm",
            "subject",
            "actor",
            "causation",
            "correlation",
        )
    }
    columns["data"] = [msgspec.json.encode(row.get("data", row.get("unreadable"))).decode() for row in rows]
    return _pyarrow().table(columns)


def _cell(value: Any) -> Any:
    return value if isinstance(value, int) else str(value or "")
