"""NATS' protocol as bytes."""

from hypothesis import given
from hypothesis import strategies as st

from infra.nats.wire.frames import (
    description_of,
    header_in,
    header_lines,
    parse_headers,
    publish_frame,
    status_of,
)

names = st.text("ABCDEFabcdef-", min_size=1, max_size=10)
headers = st.dictionaries(names, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))


@given(headers, st.binary(max_size=50))
def test_a_frame_says_its_own_sizes(values: dict[str, str], payload: bytes) -> None:
    """As the server counts them: header block with its empty line, and the whole."""
    frame = publish_frame("a.b", payload, reply="r", lines=header_lines(values))
    control, rest = frame.split(b"\r\n", 1)
    parts = control.split()
    if values:
        assert parts[:3] == [b"HPUB", b"a.b", b"r"]
        size, total = int(parts[3]), int(parts[4])
        assert parse_headers(rest[:size]) == values
        assert rest[size:total] == payload
        assert rest[total:] == b"\r\n"
    else:
        assert parts == [b"PUB", b"a.b", b"r", b"%d" % len(payload)]
        assert rest == payload + b"\r\n"


def test_headers_of_others_are_read_leniently() -> None:
    """No space after the colon, several spaces, a line without a colon, bytes that are no UTF-8."""
    block = b"NATS/1.0\r\nA:1\r\nB:   2\r\nnonsense\r\nC: x: y\r\nD: \xff\r\n\r\n"
    assert parse_headers(block) == {"A": "1", "B": "2", "C": "x: y", "D": "\ufffd"}


@given(headers, names)
def test_one_header_is_read_alone(values: dict[str, str], other: str) -> None:
    """As it is read among all the others; "" for one that is not there."""
    block = b"NATS/1.0\r\n" + header_lines(values) + b"\r\n"
    for name in (*values, other):
        assert header_in(block, name) == values.get(name, "")


def test_one_header_of_others_is_read_leniently() -> None:
    """However many spaces there are after the colon; of several of one name the last counts."""
    block = b"NATS/1.0\r\nA:1\r\nB:   2\r\nC: 3\r\nC: 4\r\n\r\n"
    assert [header_in(block, name) for name in ("A", "B", "C", "D")] == ["1", "2", "4", ""]
    assert header_in(b"", "A") == ""


def test_the_status_line_is_read() -> None:
    """With and without a description; a block without a status has 0."""
    assert status_of(b"NATS/1.0 404 No Messages\r\n\r\n") == 404
    assert description_of(b"NATS/1.0 404 No Messages\r\n\r\n") == "No Messages"
    assert status_of(b"NATS/1.0 503\r\n\r\n") == 503
    assert description_of(b"NATS/1.0 503\r\n\r\n") == ""
    assert status_of(b"NATS/1.0\r\nA: 1\r\n\r\n") == 0
    assert status_of(b"") == 0
