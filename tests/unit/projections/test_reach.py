"""Reach: how a contact is found at the addresses that are in use."""

from __future__ import annotations

from domain.deliveries.outcome import NO_APP
from domain.deliveries.routing import DEVICES_MAX, route
from projections import reach
from projections.reach import Reach
from tests.unit.projections.histories import REALM, History, client_id, contact_id, projected, token_id


async def test_devices_that_came_and_went_leave_no_rows() -> None:
    """However many a contact has had, only those in use are looked through."""
    came_and_went = [
        step
        for number in range(300)
        for step in (("enlist", "ann", f"d{number}", f"t{number}"), ("retire", f"d{number}"))
    ]
    history = History().run([("contact", "ann"), ("mail", "ann", "a@example.org"), *came_and_went])
    history.run([("enlist", "ann", "last", "t")])
    [ann] = await reach.people(projected([Reach()], history.facts), REALM, [contact_id("ann")])
    assert {address.channel for address in ann.addresses} == {"apns", "email"}


async def test_very_many_devices_hide_neither_the_mailbox_nor_a_stop() -> None:
    """However many devices there are, what the contact said of a channel holds, and their own addresses are used."""
    many = [("enlist", "ann", f"d{number}", f"t{number}") for number in range(reach.SLOTS_MAX + 50)]
    history = History().run([("contact", "ann"), ("mail", "ann", "a@example.org"), *many])
    models = projected([Reach()], history.facts)
    [ann] = await reach.people(models, REALM, [contact_id("ann")])
    assert [each.suppressed for each in ann.addresses if each.channel == "email"] == [""]
    models = projected([Reach()], history.run([("stop", "ann")]).facts)
    [ann] = await reach.people(models, REALM, [contact_id("ann")])
    assert [each.suppressed for each in ann.addresses if each.channel == "email"] == ["stop"]


async def test_an_app_that_was_off_keeps_nobody_from_being_reached() -> None:
    """Suppressions that were once written for it are none; what the person said of a channel stays."""
    steps = [("contact", "ann"), ("enlist", "ann", "d1", "t1"), ("stop", "ann", "apns", NO_APP)]
    history = History().run(steps)
    [ann] = await reach.people(projected([Reach()], history.facts), REALM, [contact_id("ann")])
    assert [each.suppressed for each in ann.addresses] == [""]
    history.run([("stop", "ann", "apns", "stop")])
    [ann] = await reach.people(projected([Reach()], history.facts), REALM, [contact_id("ann")])
    assert [each.suppressed for each in ann.addresses] == ["stop"]


async def test_of_very_many_devices_the_newest_are_sent_to_and_the_others_counted() -> None:
    """However their ids are ordered; a device of the app that sends is found among all of them."""
    many = [("enlist", "ann", f"d{number}", f"t{number}") for number in range(DEVICES_MAX + 50)]
    history = History().run([("contact", "ann"), ("mail", "ann", "a@example.org"), *many])
    [ann] = await reach.people(projected([Reach()], history.facts), REALM, [contact_id("ann")])
    decision = route(ann, None)
    assert decision.left_out == 50
    devices = [address for address in decision.addresses if address.client is not None]
    assert {address.address for address in devices} == {f"t{n}" for n in range(50, DEVICES_MAX + 50)}
    assert len(decision.addresses) == DEVICES_MAX + 1
    oldest = next(address.client for address in ann.addresses if address.address == "t0")
    assert oldest is not None
    [only] = await reach.people(
        projected([Reach()], history.facts),
        REALM,
        [contact_id("ann")],
        clients_of={contact_id("ann"): frozenset({oldest})},
    )
    assert [address.address for address in route(only, None, "any").addresses] == ["t0"]


async def devices(history: History, uid: str) -> list[tuple[str, bool]]:
    """(token, whether it is theirs) of each device that somebody has."""
    [person] = await reach.people(projected([Reach()], history.facts), REALM, [contact_id(uid)])
    return [(each.address, each.owned) for each in person.addresses]


async def test_a_token_that_the_newest_gives_up_does_not_go_back() -> None:
    """It may be on a phone that has changed hands: nobody is reached by it until somebody registers it again."""
    history = History().run([("enlist", "ann", "d1", "t"), ("enlist", "bob", "d2", "t")])
    assert await devices(history, "ann") == [("t", False)]
    assert await devices(history, "bob") == [("t", True)]
    history.run([("retire", "d2")])
    assert await devices(history, "ann") == [("t", False)]
    assert await devices(history, "bob") == []
    history.run([("enlist", "cem", "d3", "t")])
    assert await devices(history, "cem") == [("t", True)]
    assert await devices(history, "ann") == [("t", False)]


async def test_however_many_have_had_a_token_the_newest_has_it() -> None:
    """More clients than any read takes at a time, the newest of them anywhere among their ids; and all are found."""
    many = [("enlist", "ann", f"d{number}", "t") for number in range(reach.CLAIMS_MAX + 50)]
    for last in range(3):
        history = History().run([*many, ("enlist", "bob", f"last-{last}", "t")])
        assert await devices(history, "bob") == [("t", True)]
        models, newest = projected([Reach()], history.facts), history.facts[-1]
        before = reach.had_before(models, REALM, token_id("t"), newest.position, client_id(f"last-{last}"))
        assert len([claim async for claim in before]) == len(many)
