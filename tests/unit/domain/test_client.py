"""A client: registration, its one push address, and whose it is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from domain.aggregate import KeyOwner
from domain.client import TAKEN_OVER, Client
from domain.devices.renewal import RENEWED_EVERY
from tests.unit.domain.story import Story, at, given

ID, ANN, BOB, TOKEN, OTHER = (UUID(int=number) for number in range(1, 6))


def phone(**fields: object) -> Client:
    """Ann's phone, registered at the start."""
    known: dict[str, object] = {
        "app": "msgxc",
        "client_id": "phone",
        "contact": ANN,
        "uid": "ann",
        "channel": "apns",
        "address": "token",
        "token": TOKEN,
    }
    return Client.register(id=ID, at=at(), **{**known, **fields})  # type: ignore[arg-type]


def retired() -> Story[Client]:
    return given(phone()).and_then(lambda client: client.retire_address(at=at(1), code="cleared"))


def test_a_first_registration_is_one_event() -> None:
    """Address and contact come with the registration itself."""
    [event] = phone().collect_events()
    assert isinstance(event, Client.Registered)
    assert (event.contact, event.address, event.token) == (ANN, "token", TOKEN)
    assert event.originator_version == 1


def test_properties_change() -> None:
    """Other properties replace the old ones."""
    given(phone()).when(lambda c: c.change_properties(at=at(1), properties={"os": "17"})).then(
        Client.PropertiesChanged, properties={"os": "17"}, timestamp=at(1)
    )


def test_the_same_properties_change_nothing() -> None:
    """Properties told again are no event."""
    given(phone(properties={"os": "17"})).when(
        lambda c: c.change_properties(at=at(1), properties={"os": "17"})
    ).then_nothing()


def test_a_new_address_says_which_token_it_replaces() -> None:
    """The event names the token that is given up, and whose client it is."""
    given(phone()).when(lambda c: c.set_address(at=at(1), channel="fcm", address="new", token=OTHER)).then(
        Client.AddressSet, channel="fcm", address="new", token=OTHER, previous_token=TOKEN, contact=ANN
    )


def test_the_same_address_changes_nothing() -> None:
    """An address told again is no event."""
    given(phone()).when(
        lambda c: c.set_address(at=at(1), channel="apns", address="token", token=TOKEN)
    ).then_nothing()


def test_the_same_address_after_its_retirement_is_set_again() -> None:
    """Coming back with the token that was given up is an event."""
    retired().when(lambda c: c.set_address(at=at(2), channel="apns", address="token", token=TOKEN)).then(
        Client.AddressSet, previous_token=None
    )


def test_the_same_address_is_set_again_where_another_client_has_it() -> None:
    """An address that was lost is an event when it is told again, and is then of that event."""
    client = phone()
    given(client).when(
        lambda c: c.set_address(at=at(1), channel="apns", address="token", token=TOKEN, is_lost=True)
    ).then(Client.AddressSet, token=TOKEN, previous_token=TOKEN)
    assert client.address_version == 2


def test_an_address_that_another_client_took_is_retired() -> None:
    """The event says so, and names the token."""
    given(phone()).when(lambda c: c.lose_address(at=at(1), token=TOKEN, version=1)).then(
        Client.AddressRetired, token=TOKEN, code=TAKEN_OVER, contact=ANN
    )


@pytest.mark.parametrize(("token", "version"), [(OTHER, 1), (TOKEN, 2), (TOKEN, 0)])
def test_only_the_address_that_was_there_before_is_lost(token: UUID, version: int) -> None:
    """Another token, or the same set by another event, was not the one that was taken."""
    given(phone()).when(lambda c: c.lose_address(at=at(1), token=token, version=version)).then_nothing()


def test_what_was_set_since_is_not_lost() -> None:
    """Cleared and told again, the same token is newer than the taking."""
    again = retired().and_then(
        lambda c: c.set_address(at=at(2), channel="apns", address="token", token=TOKEN)
    )
    again.when(lambda c: c.lose_address(at=at(3), token=TOKEN, version=1)).then_nothing()


@pytest.mark.parametrize("known", [False, True])
def test_a_push_contact_of_a_web_domain_keeps_its_address(known: bool) -> None:
    """Its contract has it there until its site or its provider ends it."""
    told: dict[str, Any] = {"device_token": "d", "email": None, "visitor": None}
    if known:
        story = given(phone()).and_then(lambda c: c.introduce(at=at(1), app="shop.example", **told))
    else:
        fields = {"contact": ANN, "uid": "ann", "channel": "apns", "address": "token", "token": TOKEN, **told}
        story = given(Client.enroll(id=ID, at=at(), app="shop.example", client_id="d", **fields))
    story.when(lambda c: c.lose_address(at=at(2), token=TOKEN, version=1)).then_nothing()


def introduced() -> Story[Client]:
    return given(phone()).and_then(
        lambda c: c.introduce(at=at(1), app="shop.example", device_token="d", email="a@x", visitor="ann")
    )


def test_what_a_site_said_already_changes_nothing() -> None:
    """The same mail address or visitor, told with the introduction or since."""
    introduced().when(lambda c: c.set_email(at=at(2), email="a@x")).then_nothing()
    introduced().when(lambda c: c.set_visitor(at=at(2), device_token="d", visitor="ann")).then_nothing()
    other = introduced().and_then(lambda c: c.set_email(at=at(2), email="b@x"))
    other.when(lambda c: c.set_email(at=at(3), email="b@x")).then_nothing()


def test_another_visitor_comes_with_all_that_the_site_has_said() -> None:
    """So that it can be sealed anew; another mail address says who the visitor is."""
    introduced().when(lambda c: c.set_email(at=at(2), email="b@x")).then(
        Client.EmailSet, email="b@x", visitor="ann", app="shop.example", contact=ANN
    )
    changed = introduced().and_then(lambda c: c.set_email(at=at(2), email="b@x"))
    changed.when(lambda c: c.set_visitor(at=at(3), device_token="d", visitor="bob")).then(
        Client.VisitorSet, device_token="d", email="b@x", visitor="bob", app="shop.example"
    )


def test_an_address_is_retired_with_the_reason() -> None:
    """Retiring names the token and the code."""
    given(phone()).when(lambda c: c.retire_address(at=at(1), code="cleared")).then(
        Client.AddressRetired, token=TOKEN, channel="apns", code="cleared", contact=ANN
    )


def test_an_address_is_retired_once() -> None:
    """A client without an address has none to retire."""
    retired().when(lambda c: c.retire_address(at=at(2), code="cleared")).then_nothing()


def gone(
    since_s: float,
    *,
    token: UUID = TOKEN,
    confirm: bool = False,
    now_s: float = 10,
    tried_s: float | None = None,
) -> object:
    return lambda client: client.find_gone(
        at=at(now_s),
        token=token,
        code="unregistered",
        since=at(since_s),
        tried_at=at(since_s if tried_s is None else tried_s),
        confirm=confirm,
    )


def test_gone_retires_what_was_registered_before() -> None:
    """A token that was there when the provider found it dead is retired."""
    given(phone()).when(gone(5)).then(Client.AddressRetired, code="unregistered")  # type: ignore[arg-type]


def test_gone_at_the_very_time_of_registration_retires() -> None:
    """Only a later registration proves the provider wrong."""
    given(phone()).when(gone(0)).then(Client.AddressRetired)  # type: ignore[arg-type]


@pytest.mark.parametrize("confirm", [False, True])
def test_gone_leaves_what_was_registered_since(confirm: bool) -> None:
    """A token registered after the provider's invalidation time stays."""
    given(phone()).when(gone(-1, confirm=confirm)).then_nothing()  # type: ignore[arg-type]


@pytest.mark.parametrize("confirm", [False, True])
def test_gone_leaves_another_token(confirm: bool) -> None:
    """The answer was about a token that the client no longer has."""
    given(phone()).when(gone(5, token=OTHER, confirm=confirm)).then_nothing()  # type: ignore[arg-type]


EVERY_S = RENEWED_EVERY.total_seconds()


def renewed(at_s: float) -> Story[Client]:
    return given(phone()).and_then(lambda c: c.renew_address(at=at(at_s)))


def test_an_address_that_is_told_again_is_recorded() -> None:
    """The first time at once, then as often as RENEWED_EVERY says; a client without an address has none to renew."""
    given(phone()).when(lambda c: c.renew_address(at=at(1))).then(
        Client.AddressRenewed, channel="apns", token=TOKEN
    )
    renewed(1).when(lambda c: c.renew_address(at=at(EVERY_S))).then_nothing()
    renewed(1).when(lambda c: c.renew_address(at=at(EVERY_S + 1))).then(Client.AddressRenewed)
    retired().when(lambda c: c.renew_address(at=at(2))).then_nothing()


def test_gone_leaves_what_was_told_again_since() -> None:
    """Whatever the provider found before, and whenever it says so."""
    renewed(6).when(gone(5, tried_s=4)).then_nothing()  # type: ignore[arg-type]
    renewed(6).when(gone(5, tried_s=EVERY_S * 2)).then_nothing()  # type: ignore[arg-type]


def test_gone_is_not_believed_where_a_renewal_may_be_missing() -> None:
    """Soon after one that is recorded there may be one that is not: the answer to a later try is believed."""
    renewed(6).when(gone(7, tried_s=8)).then_nothing()  # type: ignore[arg-type]
    renewed(6).when(gone(7, tried_s=6 + EVERY_S)).then(Client.AddressRetired)  # type: ignore[arg-type]


def test_an_address_that_is_told_again_is_out_of_quarantine() -> None:
    """The doubt was about what was there before."""
    quarantined().and_then(lambda c: c.renew_address(at=at(7))).when(
        gone(8 + EVERY_S, confirm=True)  # type: ignore[arg-type]
    ).then(Client.AddressQuarantined)


def test_gone_finds_nothing_where_nothing_is_left() -> None:
    """A client without an address is left as it is."""
    retired().when(gone(5)).then_nothing()  # type: ignore[arg-type]


def test_a_doubtful_gone_quarantines_first() -> None:
    """The first doubt is recorded, and the address is kept."""
    given(phone()).when(gone(5, confirm=True)).then(  # type: ignore[arg-type]
        Client.AddressQuarantined, token=TOKEN, code="unregistered"
    )


def quarantined() -> Story[Client]:
    return given(phone()).and_then(gone(5, confirm=True, now_s=6))  # type: ignore[arg-type]


def test_the_same_doubt_told_twice_confirms_nothing() -> None:
    """An answer from before the quarantine is the one that led to it, or as good as that."""
    quarantined().when(gone(5, confirm=True)).then_nothing()  # type: ignore[arg-type]


def test_a_later_doubt_retires() -> None:
    """A second answer, given after the quarantine, is believed."""
    quarantined().when(gone(7, confirm=True)).then(Client.AddressRetired)  # type: ignore[arg-type]


def test_certainty_retires_from_quarantine_at_once() -> None:
    """An answer without doubt needs no second one."""
    quarantined().when(gone(5)).then(Client.AddressRetired)  # type: ignore[arg-type]


def test_a_new_address_is_out_of_quarantine() -> None:
    """The doubt was about the old one."""
    quarantined().and_then(
        lambda c: c.set_address(at=at(7), channel="apns", address="new", token=OTHER)
    ).when(gone(8, token=OTHER, confirm=True)).then(Client.AddressQuarantined, token=OTHER)  # type: ignore[arg-type]


def test_a_quarantine_is_recorded_once() -> None:
    """A doubted address that is doubted again is no news."""
    quarantined().when(lambda c: c.quarantine(at=at(9), token=TOKEN, code="BadDeviceToken")).then_nothing()


def test_a_doubt_about_another_token_is_none() -> None:
    """Only the address the client has can be quarantined."""
    given(phone()).when(lambda c: c.quarantine(at=at(9), token=OTHER, code="x")).then_nothing()
    retired().when(lambda c: c.quarantine(at=at(9), token=TOKEN, code="x")).then_nothing()


def test_a_client_changes_hands_with_its_address() -> None:
    """The event names who loses and who gets the client, and carries the address."""
    given(phone()).when(lambda c: c.link(at=at(1), contact=BOB, uid="bob")).then(
        Client.ContactLinked, previous=ANN, contact=BOB, uid="bob", address="token", token=TOKEN
    )


def test_linking_to_the_same_contact_changes_nothing() -> None:
    """A client told again whose it is."""
    given(phone()).when(lambda c: c.link(at=at(1), contact=ANN, uid="ann")).then_nothing()


def test_a_client_can_be_nobodys() -> None:
    """Unlinking hands it to nobody."""
    given(phone()).when(lambda c: c.link(at=at(1), contact=None, uid=None)).then(
        Client.ContactLinked, previous=ANN, contact=None
    )


def test_what_seals_an_address_is_its_owners_key() -> None:
    """The contact's key where there is a contact, else the client's own; a new owner's from the link on."""
    assert phone().pending_events[0].key_owner() == KeyOwner("contact", ANN)
    assert phone(contact=None).pending_events[0].key_owner() == KeyOwner("client", ID)
    client = phone()
    client.link(at=at(1), contact=BOB, uid="bob")
    client.link(at=at(2), contact=None, uid=None)
    owners = [event.key_owner() for event in client.collect_events()]  # type: ignore[attr-defined]
    assert owners[1:] == [KeyOwner("contact", BOB), KeyOwner("client", ID)]
