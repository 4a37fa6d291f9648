"""The clients of each app: whom a message of an app reaches, by position, in buckets that stay small.

One row for each change: from this position on the contact has (or no longer has) this client of the app, with a push
address. A change is never overwritten, so the audience of any past position can be asked for. Where the client is
reached now is not here (see reach).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from uuid import UUID

from domain.client import Client
from domain.ids import PARTITIONS, partition
from domain.recorded import EVENTS, Recorded
from projections.checks import count
from projections.paging import cursor_after, stream
from projections.port import Generation, Key, Put, ReadModels, Row, Table, Write

BUCKETS = tuple(f"{number:02x}" for number in range(PARTITIONS))

APP_CLIENTS = Table(
    projection="app_clients",
    name="app_clients",
    partition={"realm": "text", "app": "text", "bucket": "text"},
    clustering={"contact": "uuid", "client": "uuid", "position": "bigint"},
    columns={"there": "boolean"},
)
"""app: the code in one case (`app_key`); bucket: the contact's. there: whether the client is the contact's from
`position` on, and has a push address.
"""


class AppClients:
    """The projection."""

    name, version = "app_clients", 1
    streams = (EVENTS,)
    subjects = {EVENTS: ("evt.client.>",)}
    tables = (APP_CLIENTS,)

    def project(self, fact: Recorded) -> Iterable[Write]:
        event = fact.body
        if not isinstance(event, Client.Event):
            return
        for contact, there in _changes(event):
            app = getattr(event, "app", "")
            if contact is not None and app:
                key = (fact.realm, app_key(app), partition(contact), contact, event.originator_id)
                yield Put(APP_CLIENTS, (*key, fact.position), {"there": there}, fact.position)

    async def check(self, generation: Generation) -> list[str]:
        vague = await count(generation, APP_CLIENTS, lambda row: row["there"] is None)
        return [f"{vague} changes say nothing"] if vague else []


def _changes(event: Client.Event) -> Iterable[tuple[UUID | None, bool]]:
    """(contact, whether it has the client with an address from now on)."""
    match event:
        case Client.Registered(contact=contact) if event.token is not None:
            yield contact, True
        case Client.AddressSet(contact=contact, previous_token=None):
            yield contact, True
        case Client.AddressRetired(contact=contact):
            yield contact, False
        case Client.ContactLinked() if event.token is not None:
            yield event.previous, False
            yield event.contact, True
        case _:
            return


def app_key(code: str) -> str:
    """An app's code as tables know it: codes differ by more than case."""
    return code.casefold()


def members(
    models: ReadModels, realm: str, app: str, *, cursor: str | None, chunk: int
) -> AsyncGenerator[Row]:
    """Every change of an app's clients: contact by contact, client by client, oldest first."""
    return stream(models, APP_CLIENTS, _partitions(realm, app), cursor=cursor, chunk=chunk)


def there_at(rows: Sequence[Row], as_of: int) -> frozenset[UUID]:
    """The clients among one contact's changes that were there at a position."""
    state = {row["client"]: row["there"] for row in rows if row["position"] <= as_of}
    return frozenset(client for client, there in state.items() if there)


def cursor_of(row: Row) -> str:
    """Where `members` goes on after a row."""
    return cursor_after(APP_CLIENTS, _partitions(row["realm"], row["app"]), row)


def _partitions(realm: str, app: str) -> list[Key]:
    return [(realm, app_key(app), bucket) for bucket in BUCKETS]
