"""Logs and process metrics: named events with fields, as lines for people or as JSON, on standard error.

Owns how the process logs and what it measures of itself. A field that could carry a token, an address or a payload
is withheld here, should a caller ever pass one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

WITHHELD: Final = frozenset(
    {
        "address",
        "addresses",
        "authorization",
        "body",
        "cell",
        "email",
        "jwt",
        "password",
        "payload",
        "phone",
        "secret",
    }
)
"""Names of fields that never reach a log line."""

QUIET_LOGGERS: Final = ("aiohttp.access", "asyncio", "cassandra", "hpack", "mail.log", "nats", "urllib3")
"""Libraries that tell more than operators want: warnings and above only."""

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Lossy:
    """Where log lines go. What cannot be written (whoever read the pipe has gone, the disk is full) is lost: that is no
    failure of whoever has something to say, least of all of a process that is told to stop.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(
    level: str = "info", form: str = "auto", *, stream: TextIO | None = None, is_final: bool = False
) -> None:
    """Send our events and the libraries' records, in one form, to `stream` (standard error).

    form: "json", "console", or "auto": console on a terminal.
    is_final: nothing configures it anew in this process. Loggers then keep what they found, which is faster.
    """
    target = stream or sys.stderr
    out: Any = Lossy(target)
    lines = form == "console" or (form == "auto" and target.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        withhold,
    ]
    final = _console_tail(colors=target.isatty()) if lines else _json_tail()
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=is_final,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
    )
    _route_stdlib(formatter, out, level)


def hush_cassandra() -> None:
    """For commands that end by saying themselves, in one line, that Cassandra does not answer."""
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)


def withhold(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what must not be logged by a mark."""
    for name in WITHHELD & event.keys():
        event[name] = "(withheld)"
    return event


def process_registry(version: str, role: str) -> CollectorRegistry:
    """A registry with this process's own figures: memory, CPU, descriptors, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "msgxc_build", "1, with the version and the role as labels.", ("version", "role"), registry=registry
    )
    build.labels(version, role).set(1)
    return registry


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> None:
    """Answer /metrics on a thread of its own, for roles without HTTP. It ends with the process."""
    start_http_server(port, addr=host, registry=registry)


def _json_tail() -> list[Any]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json_line),
    ]


def _console_tail(*, colors: bool) -> list[Any]:
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def _json_line(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _route_stdlib(formatter: logging.Formatter, out: Any, level: str) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    handler.addFilter(_short)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.WARNING))
    # It passes the server's advice on prepared statements on, once for each of them.
    logging.getLogger("cassandra.protocol").setLevel(logging.ERROR)


def _short(record: logging.LogRecord) -> bool:
    """A node that does not answer is no fault of the driver's code: its records lose their traceback."""
    if record.name.partition(".")[0] == "cassandra":
        record.exc_info = record.exc_text = None
    return True
