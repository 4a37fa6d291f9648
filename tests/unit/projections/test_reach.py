"""Reach: how a contact is found at the addresses that are in use."""

from __future__ import annotations

from projections import reach
from projections.reach import Reach
from tests.unit.projections.histories import REALM, History, contact_id, projected


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
