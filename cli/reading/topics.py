"""Which topics there are in the log, so that one that is mistyped is told from one of which nothing has happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer

from domain.recorded import DELIVERY, EVENTS
from domain.text.nearest import near
from infra.eventstore.catalogue import DELIVERY_TOPICS, FORMER_DELIVERY_TOPICS, domain_catalogue

NEAREST_MAX = 3
"""Names to choose from; the catalogue has them all."""


def topics_of(stream: str) -> frozenset[str]:
    """Those that are written today, and former ones that the log may still have."""
    if stream == DELIVERY:
        return frozenset((*DELIVERY_TOPICS, *FORMER_DELIVERY_TOPICS))
    catalogue = domain_catalogue()
    return frozenset((*catalogue.types, *catalogue.upcasts))


def is_of(topic: str, wanted: str) -> bool:
    """Whether a topic is the one that is wanted, or begins with it up to a dot: `message` is a kind of topics."""
    return topic == wanted or topic.startswith(wanted.rstrip(".") + ".")


def assert_topics(wanted: Sequence[str], streams: Sequence[str]) -> None:
    """Refuses what no fact of the streams can be about."""
    known = {stream: topics_of(stream) for stream in (EVENTS, DELIVERY)}
    for each in wanted:
        where = [stream for stream, topics in known.items() if any(is_of(topic, each) for topic in topics)]
        if not where:
            raise typer.BadParameter(
                f"there is no topic {each or repr(each)}: {_nearest(each, known.values())}",
                param_hint="--topic",
            )
        if not set(where) & set(streams):
            raise typer.BadParameter(
                f"{each} is no topic of {streams[0]}: write --stream {where[0]}", param_hint="--topic"
            )


def _nearest(wanted: str, known: Iterable[frozenset[str]]) -> str:
    topics = sorted(topic for each in known for topic in each)
    kinds = sorted({topic.partition(".")[0] for topic in topics})
    found = near(wanted, [*kinds, *topics], most=NEAREST_MAX)
    return f"do you mean {' or '.join(found)}?" if found else f"the kinds are {', '.join(kinds)}"
