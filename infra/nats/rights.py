"""Who may do what to the streams, as permissions in nats-server's configuration. Pure.

Roles append, read and consume; only the operator may make, change, purge, restore or delete a stream. So a
stolen or mistaken role can't take the log away. The operator makes the streams
(`msgxc` does it by itself when it is started with the operator's credentials) before the roles start.
"""

from __future__ import annotations

import json

from infra.nats.streams import KEYS_STREAM, StreamSettings, stream_configs

OPERATOR_ONLY = (
    "$JS.API.STREAM.CREATE.>",
    "$JS.API.STREAM.UPDATE.>",
    "$JS.API.STREAM.DELETE.>",
    "$JS.API.STREAM.PURGE.>",
    "$JS.API.STREAM.RESTORE.>",
    "$JS.API.STREAM.SNAPSHOT.>",
    "$JS.API.STREAM.LEADER.>",
    "$JS.API.STREAM.PEER.>",
    "$JS.API.SERVER.>",
    "$JS.API.META.>",
    "$JS.API.ACCOUNT.PURGE.>",
)
"""Requests that change what a stream is, or copy it out."""

MESSAGE_DELETE = "$JS.API.STREAM.MSG.DELETE"
"""Single messages: needed for keys, which are overwritten when they are destroyed, and for nothing else."""


def authorization(*, role_password: str, operator_password: str) -> str:
    """An `authorization` block with the users `msgxc` (all roles) and `operator`."""
    denied = [*OPERATOR_ONLY, *(f"{MESSAGE_DELETE}.{stream}" for stream in _streams_of_facts())]
    role = {
        "user": "msgxc",
        "password": role_password,
        "permissions": {"publish": {"deny": denied}},
    }
    operator = {"user": "operator", "password": operator_password}
    return f"authorization: {json.dumps({'users': [role, operator]}, indent=2)}\n"


def _streams_of_facts() -> list[str]:
    return [each["name"] for each in stream_configs(StreamSettings()) if each["name"] != KEYS_STREAM]
