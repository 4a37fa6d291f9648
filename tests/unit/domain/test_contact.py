"""A contact: addresses, preferences, suppression, erasure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from uuid import UUID

import pytest

from domain.contact import Contact
from domain.deliveries.outcome import NO_APP
from domain.errors import Conflict
from tests.unit.domain.story import Story, at, given

ID, TOKEN, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)


def ann() -> Contact:
    return Contact.create(id=ID, at=at(), uid="ann")


def with_mail() -> Story[Contact]:
    return given(ann()).and_then(
        lambda c: c.set_address(at=at(1), channel="email", address="ann@example.org", token=TOKEN)
    )


def erased() -> Story[Contact]:
    return with_mail().and_then(lambda c: c.erase(at=at(2)))


def test_an_address_is_set_changed_and_taken_away() -> None:
    """Each change is an event; an empty address takes it away."""
    given(ann()).when(lambda c: c.set_address(at=at(1), channel="sms", address="+491", token=TOKEN)).then(
        Contact.AddressSet, channel="sms", address="+491"
    )
    with_mail().when(
        lambda c: c.set_address(at=at(2), channel="email", address="new@example.org", token=TOKEN)
    ).then(Contact.AddressSet, address="new@example.org")
    with_mail().when(lambda c: c.set_address(at=at(2), channel="email", address="", token=TOKEN)).then(
        Contact.AddressSet, address=""
    )


def test_the_same_address_changes_nothing() -> None:
    """An address told again, or taken away where none is."""
    with_mail().when(
        lambda c: c.set_address(at=at(2), channel="email", address="ann@example.org", token=TOKEN)
    ).then_nothing()
    given(ann()).when(
        lambda c: c.set_address(at=at(2), channel="sms", address="", token=TOKEN)
    ).then_nothing()


@pytest.mark.parametrize(("since_s", "retires"), [(0, False), (1, True), (5, True)])
def test_a_dead_address_is_retired_unless_set_since(since_s: float, retires: bool) -> None:
    """Set after the provider found it dead, it stays."""
    story = with_mail().when(
        lambda c: c.retire_address(at=at(9), channel="email", code="no-mailbox", since=at(since_s))
    )
    if retires:
        story.then(Contact.AddressRetired, channel="email", code="no-mailbox")
    else:
        story.then_nothing()


def test_there_is_nothing_to_retire_twice() -> None:
    """Neither an address that is gone, nor one that was taken away, nor one that never was."""

    def retire(contact: Contact) -> None:
        contact.retire_address(at=at(9), channel="email", code="no-mailbox", since=at(8))

    with_mail().and_then(retire).when(retire).then_nothing()
    with_mail().and_then(lambda c: c.set_address(at=at(2), channel="email", address="", token=TOKEN)).when(
        retire
    ).then_nothing()
    given(ann()).when(retire).then_nothing()


def test_suppressing_and_restoring_a_channel() -> None:
    """Each once; restoring what is not suppressed changes nothing."""

    def stop(contact: Contact) -> None:
        contact.suppress(at=at(1), channel="email", code="complained")

    given(ann()).when(stop).then(Contact.ChannelSuppressed, channel="email", code="complained")
    given(ann()).and_then(stop).when(stop).then_nothing()
    given(ann()).and_then(stop).when(lambda c: c.restore(at=at(2), channel="email")).then(
        Contact.ChannelRestored, channel="email"
    )
    given(ann()).when(lambda c: c.restore(at=at(2), channel="email")).then_nothing()


def say(word: str, second: int) -> Callable[[Contact], None]:
    """A report, all of which come at second 60."""
    if word == "start":
        return lambda c: c.restore(at=at(60), channel="email", said_at=at(second))
    return lambda c: c.suppress(at=at(60), channel="email", code=word, said_at=at(second))


@pytest.mark.parametrize("last", ["start", "unsubscribe"])
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_last_word_holds_in_whatever_order_it_is_told(order: tuple[int, ...], last: str) -> None:
    """Providers report late, twice and unordered: an old yes never undoes a newer no, nor an old no a newer yes."""
    said = [("unsubscribe", 2), ("start", 3), ("spamreport", 4), (last, 5)]
    story = with_mail()
    for place in (*order, *order):
        story = story.and_then(say(*said[place]))
    assert ("email" in story.aggregate.suppressed) == (last != "start")


def test_a_word_told_again_changes_nothing() -> None:
    """Nor does one that was said at the same time as a no; one from the future was said now."""
    stopped = with_mail().and_then(say("unsubscribe", 5))
    stopped.when(say("unsubscribe", 5)).then_nothing()
    stopped.when(say("start", 5)).then_nothing()
    stopped.and_then(say("start", 6)).when(say("start", 6)).then_nothing()
    ahead = with_mail().and_then(say("unsubscribe", 90))
    ahead.when(lambda c: c.restore(at=at(61), channel="email", said_at=at(61))).then(
        Contact.ChannelRestored, said_at=at(61)
    )


def test_a_stop_that_is_said_again_stays_the_persons_own() -> None:
    """However often; it was said of the person, and another address does not undo it."""

    def doubt(report: str) -> Callable[[Contact], None]:
        return lambda c: c.doubt_address(at=at(2), channel="email", code="550", token=TOKEN, report=report)

    story = with_mail().and_then(doubt("1")).and_then(doubt("2")).and_then(doubt("3"))
    for second in (3, 4, 5):
        story = story.and_then(say("unsubscribe", second))
        assert story.aggregate.unreachable == set()


def test_an_app_that_was_off_is_no_word_of_the_person() -> None:
    """A suppression that was once written for it is none: the person's own stop is still to come."""
    off = given(ann()).and_then(lambda c: c.suppress(at=at(1), channel="webpush", code=NO_APP))
    off.when(lambda c: c.suppress(at=at(2), channel="webpush", code="stop")).then(
        Contact.ChannelSuppressed, channel="webpush", code="stop"
    )


def test_what_is_said_of_an_address_holds_for_that_address() -> None:
    """A bounce of a mailbox that the person has left behind stops nothing, and its return restores nothing."""

    def bounced(token: UUID) -> Callable[[Contact], None]:
        return lambda c: c.suppress(at=at(2), channel="email", code="bounce", token=token)

    with_mail().when(bounced(OTHER)).then_nothing()
    with_mail().when(bounced(TOKEN)).then(Contact.ChannelSuppressed, channel="email", code="bounce")
    with_mail().and_then(bounced(TOKEN)).when(
        lambda c: c.restore(at=at(3), channel="email", token=OTHER)
    ).then_nothing()


def test_doubts_add_up_to_a_suppression() -> None:
    """Three different reports, each counted once; a new address begins anew."""

    def doubt(report: str) -> Callable[[Contact], None]:
        return lambda c: c.doubt_address(at=at(2), channel="email", code="30003", token=TOKEN, report=report)

    once = with_mail().and_then(doubt("1"))
    once.when(doubt("1")).then_nothing()
    once.when(doubt("2")).then(Contact.AddressDoubted, code="30003", report="2")
    thrice = once.and_then(doubt("2")).and_then(doubt("3"))
    assert thrice.aggregate.suppressed == {"email": "30003"}
    thrice.when(doubt("4")).then_nothing()
    anew = (
        with_mail()
        .and_then(doubt("1"))
        .and_then(doubt("2"))
        .and_then(lambda c: c.set_address(at=at(3), channel="email", address="new@example.org", token=TOKEN))
        .and_then(doubt("3"))
    )
    assert anew.aggregate.suppressed == {}


def test_another_address_ends_what_was_said_of_the_former() -> None:
    """A bounce, or doubts that added up, stop the mailbox; what the person said holds wherever they are reached."""

    def suppressed_by(code: str) -> Callable[[Contact], None]:
        return lambda c: c.suppress(at=at(2), channel="email", code=code)

    def doubt(report: str) -> Callable[[Contact], None]:
        return lambda c: c.doubt_address(at=at(2), channel="email", code="550", token=TOKEN, report=report)

    def move(address: str) -> Callable[[Contact], None]:
        return lambda c: c.set_address(at=at(3), channel="email", address=address, token=OTHER)

    def bounced() -> Story[Contact]:
        return with_mail().and_then(suppressed_by("bounce"))

    def struck() -> Story[Contact]:
        return with_mail().and_then(doubt("1")).and_then(doubt("2")).and_then(doubt("3"))

    new = move("new@example.org")
    assert struck().aggregate.suppressed == {"email": "550"}
    for unreachable in (bounced, struck):
        assert unreachable().and_then(new).aggregate.suppressed == {}
        assert unreachable().and_then(move("")).aggregate.suppressed != {}
        complained = unreachable().and_then(suppressed_by("spamreport"))
        assert complained.and_then(new).aggregate.suppressed == {"email": "spamreport"}
    said = with_mail().and_then(suppressed_by("unsubscribe"))
    said.when(suppressed_by("bounce")).then_nothing()
    assert said.and_then(new).aggregate.suppressed == {"email": "unsubscribe"}


def test_a_doubt_about_what_was_the_address_before_is_none() -> None:
    """Neither an address that was set after the message went out, nor one that was taken away, is struck."""

    def doubt(since_s: int) -> Callable[[Contact], None]:
        return lambda c: c.doubt_address(
            at=at(9), channel="email", code="550", token=None, report="1", since=at(since_s)
        )

    with_mail().when(doubt(0)).then_nothing()
    with_mail().when(doubt(5)).then(Contact.AddressDoubted, code="550", report="1")
    gone = with_mail().and_then(lambda c: c.set_address(at=at(2), channel="email", address="", token=None))
    gone.when(doubt(5)).then_nothing()


def test_preferences_are_set_once() -> None:
    """The same preferences again are no event; none are the default."""

    def prefer(channels: tuple[str, ...] | None, locale: str) -> Callable[[Contact], None]:
        return lambda c: c.set_preferences(at=at(1), channels=channels, locale=locale, time_zone="")

    given(ann()).when(prefer(("sms",), "de")).then(Contact.PreferencesSet, channels=("sms",), locale="de")
    given(ann()).and_then(prefer(("sms",), "de")).when(prefer(("sms",), "de")).then_nothing()
    given(ann()).when(prefer(None, "")).then_nothing()
    given(ann()).when(prefer((), "")).then(Contact.PreferencesSet, channels=())


def test_erasure_is_final() -> None:
    """An erased contact has no address, is erased once, and takes no more changes."""
    with_mail().when(lambda c: c.erase(at=at(2))).then(Contact.Erased)
    erased().when(lambda c: c.erase(at=at(3))).then_nothing()
    assert erased().aggregate.addresses == {}
    erased().when(lambda c: c.set_address(at=at(3), channel="sms", address="+491", token=TOKEN)).then_refused(
        Conflict
    )
    erased().when(
        lambda c: c.set_preferences(at=at(3), channels=None, locale="de", time_zone="")
    ).then_refused(Conflict)
    erased().when(
        lambda c: c.retire_address(at=at(3), channel="email", code="gone", since=at(3))
    ).then_nothing()
