"""Ids, channels, retry: the pure policies."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deliveries.channel import BUILT_IN, CODES, channels_of
from domain.deliveries.retry import DELAY_S_MAX, TRIES_MAX, delay_s, next_try, together
from domain.errors import Invalid
from domain.ids import PARTITIONS, Ids, partition
from tests.unit.domain.story import at

KEY = b"an id key for tests, of 32 bytes"
IDS = Ids(KEY)


@given(st.text(), st.text(), st.text())
def test_ids_are_uuid_version_8(realm: str, kind: str, outside: str) -> None:
    """Version and variant bits are as RFC 9562 has them, and the same outside id gives the same id."""
    id = IDS.derive(realm, kind, outside)
    assert (id.version, id.variant) == (8, "specified in RFC 4122")
    assert id == Ids(KEY).derive(realm, kind, outside)


@given(st.uuids(), st.text())
def test_an_id_can_share_anothers_partition(other: UUID, outside: str) -> None:
    """`like` gives the first byte, and so the partition; the rest is the id's own."""
    id = IDS.derive("main", "message", outside, like=other)
    assert id.bytes[0] == other.bytes[0]
    assert partition(id) == partition(other)
    assert id.bytes[1:] == IDS.derive("main", "message", outside).bytes[1:]


def test_a_subscription_and_a_message_lie_in_their_threads_partition() -> None:
    """What is read together is kept together."""
    thread = IDS.thread("main", "news")
    contact = IDS.contact("main", "ann")
    assert partition(IDS.subscription("main", thread, contact)) == partition(thread)
    assert partition(IDS.message("main", "n", thread=thread)) == partition(thread)


def test_partitions_are_even() -> None:
    """Numbers in a row, as phone numbers are, spread over all partitions (chi-squared well within chance)."""
    count = 64_000
    found = Counter(partition(IDS.contact("main", f"+4917{number:07d}")) for number in range(count))
    assert len(found) == PARTITIONS
    mean = count / PARTITIONS
    assert sum((each - mean) ** 2 / mean for each in found.values()) < 120  # 63 degrees of freedom: p < 1e-5


def test_ids_reveal_nothing_without_the_key() -> None:
    """Another key, realm or kind gives another id; the outside id is nowhere in it."""
    uid = "+491701234567"
    ids = {
        IDS.contact("main", uid),
        IDS.contact("other", uid),
        IDS.thread("main", uid),
        IDS.token("main", "sms", uid),
        Ids(b"another id key, of 32 bytes long").contact("main", uid),
    }
    assert len(ids) == 5
    assert not any(uid.encode().hex() in id.hex or uid[1:] in id.hex for id in ids)


def test_a_short_key_is_refused() -> None:
    """Less than 32 bytes could be guessed."""
    with pytest.raises(ValueError, match="32 bytes"):
        Ids(b"short")


def test_channel_codes() -> None:
    """The contract's codes and the names mean the same; ~ means none, absent means all."""
    assert channels_of(None) is None
    assert channels_of(CODES) == BUILT_IN
    assert channels_of(BUILT_IN) == BUILT_IN
    assert channels_of([]) == ()
    assert channels_of(["apn", "~"]) == ()
    assert channels_of(["apn", "apns", "em"]) == ("apns", "email")
    assert channels_of(["pigeon"]) == ("pigeon",)


@pytest.mark.parametrize("code", ["", "a b", "x" * 33, "a.b", "*"])
def test_what_is_no_channel_is_refused(code: str) -> None:
    """A channel's name becomes a token of a subject, so it is letters and digits; the error names the field."""
    with pytest.raises(Invalid) as refused:
        channels_of([code], field="opts.mtypes")
    assert refused.value.field == "opts.mtypes"


tries = st.integers(1, TRIES_MAX)
jitters = st.floats(0, 1)
wishes = st.none() | st.floats(0, 100_000)


@given(tries, wishes)
def test_a_delay_is_never_less_than_asked_for(made: int, asked_s: float | None) -> None:
    """The provider's wish is the least, and our own delays are bounded."""
    delay = delay_s(made, asked_s)
    assert delay >= max(1.0, asked_s or 0)
    assert delay <= max(DELAY_S_MAX, asked_s or 0)


def test_delays_grow_to_hours() -> None:
    """Each is longer than the one before, and ten tries span about six hours."""
    delays = [delay_s(made, None) for made in range(1, TRIES_MAX)]
    assert all(one < other for one, other in pairwise(delays))
    assert 1.5 * 3600 < sum(delays) < 8 * 3600


@given(st.floats(1, 100_000), jitters, st.floats(0, 1_000_000))
def test_a_try_is_due_in_time_or_there_is_none(delay: float, jitter: float, left_s: float) -> None:
    """After its delay, a fifth later at most and before the message expires; jitter is nobody's end."""
    expires_at = at() + timedelta(seconds=left_s)
    due = next_try(delay, now=at(), expires_at=expires_at, jitter=jitter)
    earliest = at() + timedelta(seconds=delay)
    assert (due is None) == (earliest >= expires_at)
    if due is not None:
        assert earliest <= due < expires_at
        assert due <= earliest + timedelta(seconds=0.2 * delay + 1e-6)


@given(st.lists(st.floats(1, 2_419_200), max_size=500))
def test_near_delays_are_waited_for_together(delays: list[float]) -> None:
    """Everybody once, nobody shorter than asked nor a quarter longer, and never more than 67 groups."""
    groups = together(enumerate(delays))
    assert sorted(place for places, _ in groups for place in places) == list(range(len(delays)))
    assert all(delays[p] <= delay <= 1.25 * delays[p] for places, delay in groups for p in places)
    assert len(groups) <= 67
    assert all(one < other for (_, one), (_, other) in pairwise(groups))
