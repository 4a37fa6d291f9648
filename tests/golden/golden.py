"""Golden bytes: what each topic looks like on the log, for ever.

A topic's file is written once, when the topic is new: `python -m tests.golden.golden`. A file that is there is
never written again: a published event does not change.
"""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from domain.context import Context
from infra.eventstore.catalogue import DELIVERY_TOPICS, EventType, domain_catalogue
from infra.eventstore.examples import AT, ID, example_event, example_record
from infra.eventstore.sealing import key_name
from infra.eventstore.wire import Packed, digest_of, pack_delivery, pack_event
from infra.nats.wire.frames import Stored, parse_headers

FOLDER = Path(__file__).with_name("wire")
KEY = bytes(range(32))
PREV = "ab" * 32
CONTEXT = Context(realm="main", actor="josé 100%", causation="EVENTS:41", correlation="r-1")
CLAIM = "cd" * 32


def packed_event(known: EventType, *, sealed: bool = False) -> Packed:
    event = example_event(known)
    first = event.originator_version == 1
    prev, claim = ("", CLAIM) if first else (PREV, None)
    return pack_event(event, CONTEXT, prev=prev, key=KEY if sealed else None, claim=claim)


def packed() -> Iterator[tuple[str, Packed]]:
    """Every topic's example; those with sealed fields once more, sealed."""
    for topic, known in domain_catalogue().types.items():
        yield topic, packed_event(known)
        if known.sealed_types and key_name(example_event(known)):
            yield f"{topic}.sealed", packed_event(known, sealed=True)
    for topic, record in DELIVERY_TOPICS.items():
        subject = f"{topic.partition('.')[0]}.golden.{ID.hex}"
        yield topic, _digested(pack_delivery(subject, example_record(record), at=AT, correlation="r-1"))


def _digested(message: Packed) -> Packed:
    """With the digest that a reader would make of it."""
    headers = parse_headers(b"NATS/1.0\r\n" + message.lines + b"\r\n")
    return replace(message, digest=digest_of(Stored(message.subject, 42, headers, message.body)))


def text_of(message: Packed) -> bytes:
    """Subject, digest, headers, an empty line, body: as people read it, byte for byte."""
    return b"\n".join(
        [
            message.subject.encode(),
            message.digest.encode(),
            message.lines.replace(b"\r\n", b"\n"),
            message.body,
        ]
    )


def stored_from(text: bytes) -> tuple[Stored, str]:
    """The message in a golden file, and the digest that is written there."""
    subject, digest, rest = text.split(b"\n", 2)
    head, body = rest.split(b"\n\n", 1)
    headers = parse_headers(b"NATS/1.0\r\n" + head.replace(b"\n", b"\r\n") + b"\r\n\r\n")
    return Stored(subject.decode(), 42, headers, body), digest.decode()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, message in packed():
        path = FOLDER / f"{name}.txt"
        if not path.exists():
            path.write_bytes(text_of(message))
            print(path)
