"""A subscription: intervals of membership, with preferences of their own."""

from __future__ import annotations

from uuid import UUID

from domain.subscription import Subscription
from domain.thread import Settings
from tests.unit.domain.story import Story, at, given

ID, THREAD, CONTACT = (UUID(int=number) for number in range(1, 4))


def started() -> Story[Subscription]:
    return given(Subscription.start(id=ID, at=at(), thread=THREAD, contact=CONTACT, tid="news", uid="ann"))


def ended() -> Story[Subscription]:
    return started().and_then(lambda s: s.end(at=at(1)))


def test_leaving_ends_the_interval() -> None:
    """The event names the interval; leaving twice is one leaving."""
    started().when(lambda s: s.end(at=at(1))).then(
        Subscription.Ended, number=1, thread=THREAD, contact=CONTACT
    )
    ended().when(lambda s: s.end(at=at(2))).then_nothing()


def test_coming_back_starts_another_interval() -> None:
    """With the next number; while it lasts, coming again is nothing."""
    ended().when(lambda s: s.resume(at=at(2))).then(Subscription.Resumed, number=2, tid="news", uid="ann")
    started().when(lambda s: s.resume(at=at(2))).then_nothing()
    back = ended().and_then(lambda s: s.resume(at=at(2)))
    back.when(lambda s: s.end(at=at(3))).then(Subscription.Ended, number=2)


def test_a_membership_holds_while_the_thread_lets_its_owner_in() -> None:
    """One that an admin granted holds whatever the settings say; it ends with its interval like any other."""
    shut, open_, own = Settings(), Settings(open_subscribe=True), Settings(admins=("ann",))
    by_right = started().aggregate
    assert [by_right.holds(each) for each in (shut, open_, own)] == [False, True, True]
    granted = started().and_then(lambda s: s.resume(at=at(1), granted=True))
    assert granted.aggregate.holds(shut)
    left = granted.and_then(lambda s: s.end(at=at(2)))
    assert not left.aggregate.holds(open_)
    back = left.and_then(lambda s: s.resume(at=at(3)))
    assert not back.aggregate.holds(shut)


def test_a_member_is_granted_it_once() -> None:
    """The event names the interval; a granted membership is not granted again."""
    started().when(lambda s: s.resume(at=at(1), granted=True)).then(
        Subscription.Granted, number=1, thread=THREAD, contact=CONTACT
    )
    granted = started().and_then(lambda s: s.resume(at=at(1), granted=True))
    granted.when(lambda s: s.resume(at=at(2), granted=True)).then_nothing()
    granted.when(lambda s: s.resume(at=at(2))).then_nothing()


def test_preferences_hold_for_one_interval() -> None:
    """They are set once, end with the interval, and can't be set outside one."""
    started().when(lambda s: s.prefer(at=at(1), channels=("sms",))).then(
        Subscription.PreferencesSet, channels=("sms",), number=1
    )
    sms = started().and_then(lambda s: s.prefer(at=at(1), channels=("sms",)))
    sms.when(lambda s: s.prefer(at=at(2), channels=("sms",))).then_nothing()
    ended().when(lambda s: s.prefer(at=at(2), channels=("sms",))).then_nothing()
    back = sms.and_then(lambda s: s.end(at=at(3))).and_then(lambda s: s.resume(at=at(4)))
    assert back.aggregate.preferences is None
    back.when(lambda s: s.prefer(at=at(5), channels=("sms",))).then(Subscription.PreferencesSet, number=2)
