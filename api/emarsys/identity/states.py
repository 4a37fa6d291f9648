"""A client's state, of how it stands after a command. Signs nothing: see tokens."""

from __future__ import annotations

from api.emarsys.identity.tokens import ClientState, ContactField
from commands.sdk_clients import Standing


def state_of(standing: Standing) -> ClientState:
    if not standing.is_linked:
        return ClientState(
            client=standing.client,
            client_id=standing.client_id,
            app=standing.app,
            properties=standing.properties,
            has_push_token=standing.has_push_token,
        )
    return ClientState(
        client=standing.client,
        client_id=standing.client_id,
        app=standing.app,
        properties=standing.properties,
        contact_field=_field(standing),
        has_push_token=standing.has_push_token,
        contact=standing.contact,
        contact_id=standing.contact_id,
    )


def _field(standing: Standing) -> ContactField | None:
    if standing.identity is None:
        return None
    return ContactField(
        id=standing.identity.field, value=standing.identity.value, encrypted=standing.identity.encrypted
    )
