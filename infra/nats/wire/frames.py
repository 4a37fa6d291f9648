"""NATS' protocol as bytes: frames out, header blocks in and out. Pure.

nats-py builds and parses headers one by one with regular expressions; on the hot path that costs more than
all the rest, so here a block of headers is one string made and split once.
"""

from __future__ import annotations

from typing import NamedTuple

HEADER_LINE = b"NATS/1.0\r\n"
_END = b"\r\n"


class Frame(NamedTuple):
    """A message as it came in; headers are the raw block, empty if there were none."""

    subject: bytes
    reply: bytes
    headers: bytes
    data: bytes


class Stored(NamedTuple):
    """A message of a stream."""

    subject: str
    sequence: int
    headers: dict[str, str]
    data: bytes


def header_lines(headers: dict[str, str]) -> bytes:
    """`Name: value` lines. Values must be free of line breaks."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode()


def publish_frame(subject: str, payload: bytes, *, reply: str = "", lines: bytes = b"") -> bytes:
    """One PUB or HPUB. lines: header lines, each ended by CR LF."""
    to = f"{subject} {reply}" if reply else subject
    if not lines:
        return b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(payload), payload)
    size = len(lines) + 12  # NATS/1.0, its line end and the empty line
    head = f"HPUB {to} {size} {size + len(payload)}\r\nNATS/1.0\r\n".encode()
    return b"".join((head, lines, _END, payload, _END))


def parse_headers(block: bytes) -> dict[str, str]:
    """Headers of a block; later ones win. The status line is left out (see `status_of`)."""
    lines = block.decode("utf-8", "replace").split("\r\n")
    try:  # as we and the server write them
        return dict([line.split(": ", 1) for line in lines[1:-2]])
    except ValueError:  # as others may
        return _parse_leniently(lines)


def header_in(block: bytes, name: str) -> str:
    """One header of a block, without spaces around it; "" if it is not there.

    Hot path: of most messages that are handed to several readers, nothing else is wanted.
    """
    start = block.rfind(b"\r\n%b: " % name.encode()) + len(name) + 4
    if start < len(name) + 4:  # there is none, or it is not as we write it
        return parse_headers(block).get(name, "").strip(" ")
    return block[start : block.index(_END, start)].decode("utf-8", "replace").strip(" ")


def _parse_leniently(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if separator:
            headers[name] = value.strip(" ")
    return headers


def status_of(block: bytes) -> int:
    """The status in the first line (`NATS/1.0 404 No Messages`); 0 for a block without one."""
    code = block[9:12]
    return int(code) if code.isdigit() and block.startswith(b"NATS/1.0 ") else 0


def description_of(block: bytes) -> str:
    """What the first line says after the status."""
    return block[13 : block.index(_END)].decode("utf-8", "replace") if status_of(block) else ""
