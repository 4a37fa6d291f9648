"""The generated documents are what the code says."""

from __future__ import annotations

from pathlib import Path

from cli.schema import EVENTS, ROOT, drift, write
from infra.eventstore.catalogue import (
    DELIVERY_TOPICS,
    FORMER_DELIVERY_TOPICS,
    SIGNAL_TOPICS,
    domain_catalogue,
)
from infra.eventstore.event_catalogue import catalogue_text, means, says


def test_schema_is_up_to_date() -> None:
    """`make schema` would change nothing."""
    assert drift(ROOT, EVENTS) == []


def test_whatever_differs_is_named(tmp_path: Path) -> None:
    """A missing, a changed and a superfluous document are each reported, and written anew by apply."""
    write(tmp_path)
    (tmp_path / "openapi.json").write_text("{}", encoding="utf-8")
    (tmp_path / "sqlite" / "nothing.sql").write_text("", encoding="utf-8")
    (tmp_path / "events" / "message.accepted.v2.json").unlink()
    found = " ".join(drift(tmp_path))
    assert all(name in found for name in ("openapi.json", "nothing.sql", "message.accepted.v2.json"))
    write(tmp_path)
    assert drift(tmp_path) == []
    events = tmp_path / "events.md"
    write(tmp_path, events)
    events.write_text("# Events\n", encoding="utf-8")
    assert drift(tmp_path, events) == ["events.md is not what the types give"]


def test_the_event_catalogue_leaves_nothing_unsaid() -> None:
    """Each topic says what it tells, and each of its fields what it means; former versions and seals are named."""
    known = domain_catalogue()
    fields = {topic: each.fields for topic, each in known.types.items()}
    records = {**DELIVERY_TOPICS, **SIGNAL_TOPICS}
    fields |= {topic: record.__struct_fields__ for topic, record in records.items()}
    text = catalogue_text(known)
    for topic, names in fields.items():
        type_ = records[topic] if topic in records else known.types[topic].event
        assert says(topic, type_), f"{topic}: give the class a docstring, or a line in event_words"
        for name in names:
            assert means(topic, name), f"{topic}: say in event_words what {name} means"
        section = text.partition(f"### `{topic}`\n")[2].partition("\n###")[0]
        assert section.count("\n| `") == len(names)
        sealed = known.types[topic].sealed_types if topic in known.types else ()
        for name in sealed:
            assert f"| `{name}` " in section
            assert next(line for line in section.splitlines() if f"| `{name}`" in line).endswith(
                "**sealed** |"
            )
    for former in (*known.upcasts, *FORMER_DELIVERY_TOPICS):
        assert f"`{former}`" in text
