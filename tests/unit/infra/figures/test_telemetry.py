"""Logs: one form for our events and the libraries' records, and nothing personal in either."""

from __future__ import annotations

import errno
import io
import json
import logging

import pytest
import structlog
from prometheus_client import generate_latest

from infra.figures.telemetry import configure_logging, process_registry


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def out(logs_as_before: None) -> io.StringIO:
    return io.StringIO()


def test_events_are_json_lines(out: io.StringIO) -> None:
    """An event is one line of JSON with its name, level, time and fields."""
    configure_logging("info", "json", stream=out)
    structlog.get_logger().info("slice-sent", size=500)
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["size"]) == ("slice-sent", "info", 500)
    assert line["timestamp"].endswith("Z")


def test_libraries_speak_the_same_form(out: io.StringIO) -> None:
    """A record of the standard logging module comes out as the same JSON; chatter of libraries does not."""
    configure_logging("info", "json", stream=out)
    logging.getLogger("uvicorn").warning("port %d", 80)
    logging.getLogger("nats").info("connected")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["port 80"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_is_personal_is_withheld(out: io.StringIO, form: str) -> None:
    """A field named like an address or a secret never reaches the log."""
    configure_logging("debug", form, stream=out)
    structlog.get_logger().info("sent", address="+34600000000", password="hunter2", channel="sms")
    assert "sms" in out.getvalue()
    assert "+34600000000" not in out.getvalue()
    assert "hunter2" not in out.getvalue()


def test_levels_below_the_setting_are_silent(out: io.StringIO) -> None:
    """At level warning nothing of lower rank is written."""
    configure_logging("warning", "json", stream=out)
    structlog.get_logger().info("noise")
    assert out.getvalue() == ""


def test_what_cannot_be_logged_stops_nobody(out: io.StringIO) -> None:
    """A disk that is full and a stream that is closed take the line, and nothing else."""
    closed = io.StringIO()
    for broken in (Full(), closed):
        configure_logging("info", "json", stream=broken)
        closed.close()
        structlog.get_logger().info("sent")
        logging.getLogger("msgxc").warning("sent")
    configure_logging("info", "json", stream=out)
    structlog.get_logger().info("sent")
    assert out.getvalue().count("sent") == 1


def test_a_process_measures_itself() -> None:
    """The registry carries version, role and memory."""
    text = generate_latest(process_registry("1.2.3", "gateway")).decode()
    assert 'msgxc_build{role="gateway",version="1.2.3"} 1.0' in text
    assert "process_resident_memory_bytes" in text
