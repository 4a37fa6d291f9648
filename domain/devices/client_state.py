"""A client's state as other systems are told of it: whatever may be shown, before and after a change.

Never holds a push token, a contact field's value or any other sealed field.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.client import Client


class ClientState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """channel: how the client is pushed to, None: it is not. contact: whom it belongs to; uid: our word for them.

    contact_id: the contact data's number for them. moved_to: who the device is in another app.
    """

    app: str
    client_id: str
    properties: dict[str, Any]
    channel: str | None
    contact: UUID | None
    uid: str | None
    contact_id: int | None
    moved_to: UUID | None


class StateChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """position: of the event on EVENTS; the changes of a client come by growing position, and one twice is the same.

    cause: the event's topic. old None: the client is new.
    """

    position: int
    at: datetime
    realm: str
    client: UUID
    cause: str
    old: ClientState | None
    new: ClientState


def state_of(client: Client) -> ClientState:
    return ClientState(
        app=client.app,
        client_id=client.client_id,
        properties=client.properties,
        channel=client.channel,
        contact=client.contact,
        uid=client.uid,
        contact_id=client.contact_id,
        moved_to=client.moved_to,
    )


def state_subject(app: str, client: UUID) -> str:
    """state.client.<app>.<client>: an app is one token, in one case, its dots as %2E."""
    return f"state.client.{app.casefold().replace('.', '%2E')}.{client.hex}"
