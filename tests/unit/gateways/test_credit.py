"""One user's foreign push token must not stop a channel for everybody; revoked credentials must."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.deliveries.outcome import Accepted, Retry
from gateways.port import ChannelHalted
from gateways.verdict import CREDIT_S, Credit, Halt, conclude

START = datetime(2027, 1, 1, tzinfo=UTC)


def test_a_foreign_token_among_good_ones_is_tried_again_and_halts_nothing() -> None:
    """What the provider took in the same slice shows that our credentials work."""
    outcomes = conclude(
        [Accepted("1"), Halt("SENDER_ID_MISMATCH", doubtful=True), Accepted("2")], Credit(lambda: START)
    )
    assert [type(outcome) for outcome in outcomes] == [Accepted, Retry, Accepted]


def test_without_credit_a_refusal_halts_the_channel() -> None:
    """Nothing was ever taken: it may be our credentials."""
    with pytest.raises(ChannelHalted):
        conclude([Halt("UNAUTHENTICATED")], Credit(lambda: START))


def test_credit_ends() -> None:
    """Credentials that are revoked later halt the channel once nothing has been taken for a while."""
    now = [START]
    credit = Credit(lambda: now[0])
    conclude([Accepted()], credit)
    now[0] = START + CREDIT_S - timedelta(seconds=1)
    assert isinstance(conclude([Halt("403", doubtful=True)], credit)[0], Retry)
    now[0] = START + CREDIT_S
    with pytest.raises(ChannelHalted):
        conclude([Halt("403", doubtful=True)], credit)


def test_what_is_certainly_ours_halts_at_once() -> None:
    """However much was taken a moment ago."""
    with pytest.raises(ChannelHalted):
        conclude([Accepted(), Halt("UNAUTHENTICATED")], Credit(lambda: START))
