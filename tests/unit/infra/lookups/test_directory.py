"""Who may still write, as the publish path asks it."""

from __future__ import annotations

from commands.contacts import EraseContact, PutContact
from infra.lookups.directory import FollowedThreads
from infra.lookups.removals import RememberedRemovals
from tests.memory.world import IDS, REALM, World

ANN = IDS.contact(REALM, "ann")


async def test_an_erased_contact_is_known() -> None:
    """At once where nobody remembers, and from the news where somebody does; one that is not there is not erased."""
    made = World()
    removals = RememberedRemovals(made.own.store)
    known = FollowedThreads(made.own.log, made.own.store, removals, on_reconnect=lambda forget: forget)
    await made.do(PutContact(uid="ann"))
    assert not await known.is_erased(ANN)
    assert not await known.is_erased(IDS.contact(REALM, "nobody"))
    removals.begin()
    assert not await known.is_erased(ANN)
    await made.do(EraseContact(uid="ann"))
    removals.note(ANN)
    assert await known.is_erased(ANN)
    removals.end()
    assert await known.is_erased(ANN)
