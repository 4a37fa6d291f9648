"""The event catalogue in schema/ is what the types say."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.eventstore.catalogue import DELIVERY_TOPICS, domain_catalogue
from infra.eventstore.schemas import drift, generate
from infra.nats.streams import StreamSettings, stream_configs

SCHEMA = Path(__file__).parents[4] / "schema"
CATALOGUE = domain_catalogue()
RES = {"get", "access", "call", "auth", "event", "conn", "system"}
"""Requests and events of the RES protocol, which no stream keeps."""


def test_the_files_are_as_the_types_would_have_them() -> None:
    """Otherwise: python -m infra.eventstore.schemas"""
    assert drift(SCHEMA) == []


@pytest.mark.parametrize("topic", [*CATALOGUE.types, *DELIVERY_TOPICS])
def test_every_topic_has_an_example_that_its_type_reads(topic: str) -> None:
    """And writes again the same way."""
    schema = msgspec.json.decode((SCHEMA / f"events/{topic}.json").read_bytes())
    (example,) = schema["examples"]
    assert set(schema.get("required", [])) <= set(example)
    data = msgspec.json.encode(example)
    if topic in DELIVERY_TOPICS:
        record = msgspec.json.decode(data, type=DELIVERY_TOPICS[topic])
        assert msgspec.json.decode(msgspec.json.encode(record)) == example
    else:
        known, body = CATALOGUE.read(topic, data, sealed=False)
        assert msgspec.json.decode(msgspec.json.encode(body)) == example
        assert known.topic == topic


def test_asyncapi_names_every_topic_and_only_subjects_that_a_stream_takes() -> None:
    """Each with its schema."""
    document = msgspec.json.decode((SCHEMA / "asyncapi.json").read_bytes())
    assert document["asyncapi"].startswith("3.")
    named: set[str] = set()
    firsts = {
        subject.partition(".")[0] for each in stream_configs(StreamSettings()) for subject in each["subjects"]
    }
    for channel in document["channels"].values():
        for name, message in channel["messages"].items():
            reference = message["payload"].get("$ref", "")
            if reference.startswith("./"):
                assert (SCHEMA / reference).exists()
                named.add(name)
        first = channel["address"].partition(".")[0]
        assert first in firsts | {"live"} | RES or first.startswith("/"), first
    assert named == {*CATALOGUE.types, *DELIVERY_TOPICS}


def test_references_within_the_documents_lead_somewhere() -> None:
    """Every $ref of every JSON document."""
    for name, content in generate(CATALOGUE).items():
        if not name.endswith(".json"):
            continue
        document = msgspec.json.decode(content)
        for reference in references(document):
            if reference.startswith("#/"):
                found: Any = document
                for part in reference.removeprefix("#/").split("/"):
                    found = found[part]
                assert found, (name, reference)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for value in node.values() for each in references(value)]
    if isinstance(node, list):
        return [each for value in node for each in references(value)]
    return []
