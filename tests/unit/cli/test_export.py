"""Exports into files: resumed where they stopped, whatever was half written, and never mixed with another log's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from cli.console import Failure
from cli.reading.export import JsonLines, Output, ParquetParts
from domain.recorded import Checkpoint


def _rows(first: int, last: int) -> list[dict[str, object]]:
    return [
        {"stream": "EVENTS", "position": n, "topic": "t.v1", "data": {"n": n}} for n in range(first, last + 1)
    ]


def _write(output: Output, first: int, last: int) -> None:
    output.write(_rows(first, last), Checkpoint("EVENTS", last, "e1", f"d{last}"))
    output.end()


def _lines(path: Path) -> list[int]:
    return [json.loads(line)["position"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_go_on_where_they_stopped(tmp_path: Path) -> None:
    """A later export starts behind the last position; what was written without its note is cut off."""
    path = tmp_path / "events.jsonl"
    first = JsonLines(path)
    assert first.begin("EVENTS", "e1").position == 0
    _write(first, 1, 3)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"position": 4, "half')
    second = JsonLines(path)
    assert second.begin("EVENTS", "e1").position == 3
    _write(second, 4, 5)
    assert _lines(path) == [1, 2, 3, 4, 5]


def test_parts_go_on_where_they_stopped(tmp_path: Path) -> None:
    """Each part appears whole and names its positions; a later export adds parts."""
    first = ParquetParts(tmp_path)
    assert first.begin("EVENTS", "e1").position == 0
    _write(first, 1, 3)
    second = ParquetParts(tmp_path)
    assert second.begin("EVENTS", "e1").position == 3
    _write(second, 4, 5)
    parts = sorted(tmp_path.glob("*.parquet"))
    assert [part.name for part in parts] == [
        "EVENTS-000000000001-000000000003.parquet",
        "EVENTS-000000000004-000000000005.parquet",
    ]
    rows = [row for part in parts for row in parquet.read_table(part).to_pylist()]
    assert [row["position"] for row in rows] == [1, 2, 3, 4, 5]
    assert json.loads(rows[4]["data"]) == {"n": 5}


@pytest.mark.parametrize("noted", [0, 2])
def test_a_part_without_its_note_is_written_anew(tmp_path: Path, noted: int) -> None:
    """An export was killed when the part was there and its note was not: each fact is there once all the same. What
    somebody else put there stays.
    """
    note, other = tmp_path / "position.json", tmp_path / "EVENTS-2026-12.parquet"
    output = ParquetParts(tmp_path)
    output.begin("EVENTS", "e1")
    other.write_bytes(b"")
    if noted:
        _write(output, 1, noted)
    before = note.read_bytes()
    _write(output, noted + 1, 4)
    note.write_bytes(before)
    again = ParquetParts(tmp_path)
    assert again.begin("EVENTS", "e1").position == noted
    _write(again, noted + 1, 6)
    other.unlink()
    parts = [parquet.read_table(part) for part in sorted(tmp_path.glob("*.parquet"))]
    assert [row["position"] for part in parts for row in part.to_pylist()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("made", [lambda folder: JsonLines(folder / "a.jsonl"), ParquetParts])
def test_an_output_that_lost_something_is_refused(tmp_path: Path, made: type[ParquetParts]) -> None:
    """Cut short, or with a part less than was written: nobody takes it for whole, and nothing is added to it."""
    output = made(tmp_path)
    output.begin("EVENTS", "e1")
    _write(output, 1, 2)
    made(tmp_path).begin("EVENTS", "e1")
    [lost] = [path for path in tmp_path.iterdir() if path.suffix in {".jsonl", ".parquet"}]
    if lost.suffix == ".jsonl":
        lost.write_bytes(lost.read_bytes()[:-1])
    else:
        lost.unlink()
    there = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    with pytest.raises(Failure, match="choose another --out"):
        made(tmp_path).begin("EVENTS", "e1")
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == there


def test_another_form_is_never_mixed_in(tmp_path: Path) -> None:
    """An output of other lines is refused; one of before forms were told goes on."""
    path = tmp_path / "a.jsonl"
    output = JsonLines(path)
    output.begin("EVENTS", "e1")
    _write(output, 1, 2)
    with pytest.raises(Failure, match="is of jsonl, and csv is asked for"):
        JsonLines(path, form="csv").begin("EVENTS", "e1")
    note = tmp_path / "a.jsonl.position"
    note.write_bytes(note.read_bytes().replace(b'"form":"jsonl"', b'"form":""'))
    assert JsonLines(path).begin("EVENTS", "e1").position == 2


@pytest.mark.parametrize("made", [lambda folder: JsonLines(folder / "a.jsonl"), ParquetParts])
def test_another_log_is_never_mixed_in(tmp_path: Path, made: type[ParquetParts]) -> None:
    """An output of another epoch or stream is refused."""
    output = made(tmp_path)
    output.begin("EVENTS", "e1")
    _write(output, 1, 2)
    for stream, epoch in (("EVENTS", "e2"), ("DELIVERY", "e1")):
        with pytest.raises(Failure, match="choose another --out"):
            made(tmp_path).begin(stream, epoch)


@pytest.mark.parametrize(
    ("made", "note"),
    [(lambda folder: JsonLines(folder / "a.jsonl"), "a.jsonl.position"), (ParquetParts, "position.json")],
)
def test_an_output_without_its_note_is_refused(tmp_path: Path, made: type[ParquetParts], note: str) -> None:
    """Nobody knows how far it is: it is neither doubled nor lost."""
    output = made(tmp_path)
    output.begin("EVENTS", "e1")
    _write(output, 1, 2)
    (tmp_path / note).unlink()
    with pytest.raises(Failure, match="not known how far"):
        made(tmp_path).begin("EVENTS", "e1")
