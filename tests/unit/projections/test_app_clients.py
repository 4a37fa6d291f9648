"""The clients of an app, by position: who a message of the app reaches."""

from __future__ import annotations

import contextlib
from itertools import groupby
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.client import Client
from domain.message import ToApp
from processes.dispatching.audience import slices_of
from projections import app_clients
from projections.app_clients import AppClients
from projections.reach import Reach
from tests.memory.ports.read_models import MemoryReadModels
from tests.unit.projections.histories import (
    REALM,
    History,
    app_of,
    client_id,
    contact_id,
    histories,
    projected,
)

APPS = ("app", "Other")

Reached = dict[UUID, frozenset[UUID]]


def there(history: History, app: str, as_of: int) -> Reached:
    """By the aggregates themselves: their events up to the position, replayed."""
    clients: dict[UUID, Client] = {}
    for fact in history.facts[:as_of]:
        if isinstance(fact.body, Client.Event):
            made = fact.body.mutate(clients.get(fact.body.originator_id))
            assert isinstance(made, Client)
            clients[made.id] = made
    found: dict[UUID, set[UUID]] = {}
    for client in clients.values():
        if client.app == app and client.contact is not None and client.token is not None:
            found.setdefault(client.contact, set()).add(client.id)
    return {contact: frozenset(each) for contact, each in found.items()}


async def listed(models: MemoryReadModels, app: str, as_of: int, chunk: int) -> Reached:
    async with contextlib.aclosing(
        app_clients.members(models, REALM, app, cursor=None, chunk=chunk)
    ) as changes:
        rows = [row async for row in changes]
    grouped = {
        contact: app_clients.there_at(list(group), as_of)
        for contact, group in groupby(rows, key=lambda row: row["contact"])
    }
    return {contact: clients for contact, clients in grouped.items() if clients}


@given(histories, st.integers(0, 60), st.integers(1, 4))
async def test_the_clients_of_an_app_are_those_of_the_position(
    history: History, as_of: int, chunk: int
) -> None:
    """Linked to a contact and with a push address when the event at the position was appended; each in its own app
    alone, however the pages fall, and whatever has happened since.
    """
    models = projected([AppClients()], history.facts)
    for app in APPS:
        assert await listed(models, app, as_of, chunk) == there(history, app, as_of)


@given(histories, st.integers(0, 60))
async def test_the_audience_is_every_contact_once_on_just_those_clients(history: History, as_of: int) -> None:
    """What the dispatcher decides on: nobody twice, and each with the clients that were theirs at the position."""
    models = projected([AppClients(), Reach()], history.facts)
    for app in APPS:
        people = [
            person
            async for part in slices_of(models, REALM, ToApp(), as_of=as_of, cursor=None, app=app)
            for person in part.people
        ]
        assert len(people) == len({person.contact for person in people})
        assert {person.contact: person.clients for person in people} == there(history, app, as_of)


async def test_the_letters_case_of_a_code_is_nothing() -> None:
    """`Other` and `OTHER` are one app."""
    history = History().run([("contact", "ann"), ("enlist", "ann", "d3", "t1")])
    models = projected([AppClients()], history.facts)
    ann = {contact_id("ann"): frozenset({client_id("d3")})}
    assert app_of("d3") == "Other"
    assert await listed(models, "OTHER", 99, 5) == ann
    assert await listed(models, "app", 99, 5) == {}
