"""Who may still write: remembered for less than a second, and never once they are erased."""

from __future__ import annotations

from uuid import UUID

import pytest

import infra.directory
from commands.contacts import EraseContact, PutContact
from infra.directory import FollowedThreads
from tests.memory.world import IDS, REALM, World

ANN = IDS.contact(REALM, "ann")


def directory(made: World) -> FollowedThreads:
    return FollowedThreads(made.own.log, made.own.store, on_reconnect=lambda forget: forget)


async def test_an_erased_contact_is_known_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was not erased is asked for again once that time has passed; one that is there not is not erased."""
    made = World()
    known = directory(made)
    await made.do(PutContact(uid="ann"))
    assert not await known.is_erased(ANN)
    assert not await known.is_erased(IDS.contact(REALM, "nobody"))
    await made.do(EraseContact(uid="ann"))
    assert not await known.is_erased(ANN)
    monkeypatch.setattr(infra.directory, "SENDER_S", 0.0)
    assert await known.is_erased(ANN)
    assert await directory(made).is_erased(ANN)


async def test_only_so_many_senders_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who has not been asked for longest is forgotten first."""
    monkeypatch.setattr(infra.directory, "SENDERS_MAX", 2)
    made = World()
    known = directory(made)
    for number in (1, 2, 3):
        await known.is_erased(UUID(int=number))
    assert list(known._there) == [UUID(int=2), UUID(int=3)]
