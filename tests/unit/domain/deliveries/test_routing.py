"""Routing: which addresses a contact is reached at, or why at none."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deliveries.channel import BUILT_IN, WEBSOCKET
from domain.deliveries.routing import MOVED, Address, Channels, Person, route

ANN = UUID(int=1)
PHONE = Address("apns", "token", client=UUID(int=2), token=UUID(int=3))
MAIL = Address("email", "ann@example.org")


def decide(*addresses: Address, allowed: Channels = None, **person: object) -> tuple[tuple[str, ...], str]:
    decision = route(Person(ANN, addresses, **person), allowed)  # type: ignore[arg-type]
    return decision.channels, decision.suppressed


def replaced(address: Address, **changes: object) -> Address:
    return Address(**{**{name: getattr(address, name) for name in address.__struct_fields__}, **changes})


@pytest.mark.parametrize(
    ("person", "allowed", "expected"),
    [
        ({}, None, (("websocket", "apns", "email"), "")),
        ({}, ("email",), (("email",), "")),
        ({}, ("websocket",), (("websocket",), "")),
        ({}, ("sms",), ((), "no-address")),
        ({}, (), ((), "switched-off")),
        ({"channels": ("email", "sms")}, None, (("email",), "")),
        ({"channels": ()}, None, ((), "switched-off")),
        ({"thread_channels": ("apns",)}, None, (("apns",), "")),
        ({"thread_channels": ()}, ("apns",), ((), "switched-off")),
        ({"channels": ("apns",), "thread_channels": ("email",)}, None, ((), "no-address")),
        ({"channels": ("apns", "email")}, ("email", "websocket"), (("email",), "")),
        ({"known": False}, None, ((), "unknown-contact")),
        ({"erased": True}, None, ((), "erased")),
    ],
)
def test_channels_are_what_message_contact_and_subscription_agree_on(
    person: dict[str, object], allowed: Channels, expected: tuple[tuple[str, ...], str]
) -> None:
    """All channels at once, cut by each side; nothing left has a reason."""
    assert decide(PHONE, MAIL, allowed=allowed, **person) == expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ((), "no-address"),
        ((replaced(PHONE, owned=False),), MOVED),
        ((replaced(MAIL, suppressed="complained"),), "complained"),
        ((replaced(MAIL, suppressed="complained"), replaced(PHONE, owned=False)), "complained"),
    ],
)
def test_nobody_is_left_out_without_a_reason(addresses: tuple[Address, ...], expected: str) -> None:
    """Without any usable address the decision says why."""
    assert decide(*addresses, allowed=("apns", "email", "sms")) == ((), expected)


def test_one_bad_address_does_not_spoil_the_others() -> None:
    """A suppressed or moved address is left out, the rest is used."""
    bad = replaced(MAIL, suppressed="complained")
    assert decide(bad, PHONE, allowed=("apns", "email")) == (("apns",), "")


channel_sets = st.none() | st.lists(st.sampled_from(BUILT_IN), unique=True).map(tuple)
addresses = st.builds(
    Address,
    channel=st.sampled_from(BUILT_IN),
    address=st.text(min_size=1),
    client=st.none() | st.uuids(),
    token=st.none() | st.uuids(),
    owned=st.booleans(),
    suppressed=st.sampled_from(["", "complained"]),
)
people = st.builds(
    Person,
    contact=st.uuids(),
    addresses=st.lists(addresses, max_size=6),
    channels=channel_sets,
    thread_channels=channel_sets,
    known=st.booleans(),
    erased=st.booleans(),
)


@given(people, channel_sets)
def test_a_decision_is_either_a_way_or_a_reason(person: Person, allowed: Channels) -> None:
    """Every contact is reached somehow or left out with one reason, never both, never neither."""
    decision = route(person, allowed)
    assert bool(decision.channels) != bool(decision.suppressed)
    assert decision.contact == person.contact


@given(people, channel_sets)
def test_nothing_is_used_that_anybody_excludes(person: Person, allowed: Channels) -> None:
    """Each address used is owned, not suppressed, and on a channel that all sides allow; none such is left out."""
    decision = route(person, allowed)
    limits = [limit for limit in (allowed, person.channels, person.thread_channels) if limit is not None]

    def wanted(channel: str) -> bool:
        return person.known and not person.erased and all(channel in limit for limit in limits)

    usable = [a for a in person.addresses if a.owned and not a.suppressed and wanted(a.channel)]
    assert list(decision.addresses) == usable
    assert decision.websocket == wanted(WEBSOCKET)


@given(people, channel_sets, channel_sets)
def test_the_sides_are_equal(person: Person, one: Channels, other: Channels) -> None:
    """It makes no difference which side sets a limit."""
    here = Person(person.contact, person.addresses, one, other, person.known, person.erased)
    there = Person(person.contact, person.addresses, other, None, person.known, person.erased)
    assert route(here, None).channels == route(there, one).channels


def test_channels_are_named_once() -> None:
    """Two phones are one channel, sockets first."""
    second = replaced(PHONE, client=UUID(int=9), token=UUID(int=8))
    assert decide(PHONE, second, MAIL)[0] == ("websocket", "apns", "email")
    for owned, suppressed in product((True, False), ("", "x")):
        other = replaced(PHONE, owned=owned, suppressed=suppressed)
        assert decide(other, allowed=("apns",))[0] == (("apns",) if owned and not suppressed else ())


SHOPS = Address("fcm", "shop-token", client=UUID(int=20), token=UUID(int=21), app="shop")
OTHERS = Address("fcm", "other-token", client=UUID(int=30), token=UUID(int=31), app="other")


def decide_for(app: str, *addresses: Address, **person: object) -> tuple[tuple[str, ...], str]:
    decision = route(Person(ANN, addresses, **person), None, app)  # type: ignore[arg-type]
    assert not decision.websocket
    return tuple(address.address for address in decision.addresses), decision.suppressed


@pytest.mark.parametrize("code", ["shop", "Shop", "SHOP"])
def test_an_apps_message_goes_to_its_own_clients_alone(code: str) -> None:
    """Not to another app's on the same phone, not to the mailbox, not to a socket."""
    assert decide_for(code, PHONE, MAIL, SHOPS, OTHERS) == (("shop-token",), "")
    assert decide_for(code, PHONE, MAIL, OTHERS) == ((), "no-address")


def test_of_an_audience_of_clients_only_those_are_written_to() -> None:
    """One that joined the same contact later is not."""
    later = replaced(SHOPS, client=UUID(int=22), token=UUID(int=23))
    there = frozenset({UUID(int=20)})
    assert decide_for("shop", SHOPS, later, clients=there) == (("shop-token",), "")
    assert decide_for("shop", later, clients=there) == ((), "no-address")


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ({"channels": ()}, "switched-off"),
        ({"channels": ("apns",)}, "no-address"),
        ({"erased": True}, "erased"),
        ({"known": False, "addresses": ()}, "unknown-contact"),
        ({"known": False}, ""),
    ],
)
def test_what_a_contact_wants_holds_for_apps(person: dict[str, object], expected: str) -> None:
    """Somebody of whom nothing else is known is there by having a client."""
    addresses = person.pop("addresses", (SHOPS,))
    assert decide_for("shop", *addresses, **person)[1] == expected  # type: ignore[misc]
