"""Output: tables for people, JSON for programs, nothing else on standard output."""

from __future__ import annotations

import json

import pytest

from cli.console import logged, print_rows
from cli.failures import told
from domain.errors import NotFound
from infra.configuration.datafolder import DataFolderError

ROWS = [{"name": "contacts", "lag": 12_345, "live": True, "since": None}]


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are named and aligned; numbers are grouped, truth is a word, nothing is a dash."""
    print_rows(ROWS, as_json=False)
    assert capsys.readouterr().out == "NAME      LAG     LIVE  SINCE\ncontacts  12,345  yes   -\n"


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows, values untouched."""
    print_rows(ROWS, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_no_rows_leave_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """A person is told; a program reads an empty array."""
    print_rows([], as_json=False)
    assert capsys.readouterr() == ("", "nothing\n")
    print_rows([], as_json=True)
    assert capsys.readouterr().out == "[]\n"


def test_what_was_expected_is_told_in_one_line() -> None:
    """Also out of the groups that task groups wrap errors in; a bug keeps its traceback."""
    assert told(DataFolderError("the data folder\nis in use")) == "the data folder is in use"
    assert (
        told(ExceptionGroup("work", [ExceptionGroup("more", [NotFound("no such thing")])])) == "no such thing"
    )
    assert told(ZeroDivisionError()) is None


def test_long_work_tells_a_file_of_logs_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each ten seconds with count, time left and rate; short work says nothing."""
    clock = iter([0.0, 5.0, 10.0, 19.0])
    advance = logged("threads", "events", now_s=lambda: next(clock))
    for done in (500, 1_000, 1_900):
        advance(done, 4_000)
    assert capsys.readouterr() == ("", "threads: 1,000 events of 4,000, 30 s left, 100/s\n")
