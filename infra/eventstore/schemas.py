"""The log's documents: a JSON Schema and an example for every topic, an AsyncAPI document, nats-server's accounts.

`generate` gives what belongs into `schema/`; whoever calls it writes it or compares it with what is there.
Run as a module it writes: `python -m infra.eventstore.schemas`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from domain.recorded import DeliveryRecord
from infra.eventstore.asyncapi import asyncapi
from infra.eventstore.catalogue import DELIVERY_TOPICS, Catalogue, EventType, domain_catalogue
from infra.eventstore.examples import example_event, example_record
from infra.eventstore.wire import HEADERS, event_subject
from infra.nats.rights import accounts

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def generate(catalogue: Catalogue | None = None) -> dict[str, bytes]:
    """Path below `schema/` -> content, of every file there that comes from the topics."""
    known = catalogue or domain_catalogue()
    files: dict[str, Any] = {}
    for topic, event_type in sorted(known.types.items()):
        files[f"events/{topic}.json"] = event_schema(event_type)
    for topic, record in sorted(DELIVERY_TOPICS.items()):
        files[f"events/{topic}.json"] = record_schema(topic, record)
    files["asyncapi.json"] = asyncapi(known)
    return {path: _pretty(content) for path, content in files.items()} | {
        "accounts.conf": accounts().encode()
    }


def write(folder: Path) -> list[Path]:
    """Write the files that differ into `folder`, take away those of topics that are gone; what was touched."""
    touched: list[Path] = []
    wanted = generate()
    for name, content in wanted.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            touched.append(path)
    for path in (folder / "events").glob("*.json"):
        if f"events/{path.name}" not in wanted:
            path.unlink()
            touched.append(path)
    return touched


def drift(folder: Path) -> list[str]:
    """Names of files in `folder` that are not as the types would have them; none when all is well."""
    wanted = generate()
    differing = [
        name
        for name, content in wanted.items()
        if not (folder / name).exists() or (folder / name).read_bytes() != content
    ]
    extra = [path.name for path in (folder / "events").glob("*.json") if f"events/{path.name}" not in wanted]
    return differing + extra


def event_schema(event_type: EventType) -> dict[str, Any]:
    """The body's schema; where it is, what seals it, and an example."""
    event = example_event(event_type)
    aggregate = event_type.topic.partition(".")[0]
    schema = _schema(event_type.shape, event_type.event.__qualname__.replace(".", ""))
    return {
        "$schema": DIALECT,
        "$id": event_type.topic,
        "title": event_type.topic,
        "description": _doc(event_type.event),
        "x-stream": "EVENTS",
        "x-subject": f"evt.{aggregate}.<partition>.<id>",
        "x-headers": list(HEADERS),
        "x-sealed": list(event_type.sealed_types),
        **schema,
        "examples": [msgspec.to_builtins({name: getattr(event, name) for name in event_type.fields})],
        "x-example-subject": event_subject(aggregate, event.originator_id),
    }


def record_schema(topic: str, record: type[DeliveryRecord]) -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "$id": topic,
        "title": topic,
        "description": _doc(record),
        "x-stream": "DELIVERY",
        "x-headers": ["Topic", "Realm", "Corr", "Time"],
        **_schema(record, record.__name__),
        "examples": [msgspec.to_builtins(example_record(record))],
    }


def _schema(type_: Any, name: str) -> dict[str, Any]:
    """One schema; the types it uses under $defs."""
    (schema,), components = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    own = components.pop(name, None)
    body = dict(own if own is not None else schema)
    body.pop("title", None)
    body.pop("description", None)
    return body | ({"$defs": dict(sorted(components.items()))} if components else {})


def _doc(type_: type) -> str:
    doc = type_.__doc__ or ""
    return "" if doc.startswith(f"{type_.__name__}(") or "(*" in doc else " ".join(doc.split())


def _pretty(content: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


if __name__ == "__main__":
    for each in write(Path(__file__).parents[2] / "schema"):
        print(each)  # noqa: T201  a command prints
