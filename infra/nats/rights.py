"""Who may do what to the streams, as permissions in nats-server's configuration. Pure.

Roles append, read and consume; only the operator may make, change, purge, restore or delete a stream. So a
stolen or mistaken role can't take the log away. The operator makes the streams
(`msgxc` does it by itself when it is started with the operator's credentials) before the roles start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from domain.deliveries.channel import BUILT_IN, WEBSOCKET
from infra.nats.streams import (
    APPS_BUCKET,
    CLAIMS_BUCKET,
    KEYS_BUCKET,
    KEYS_STREAM,
    LEASES_BUCKET,
    PLACES_BUCKET,
)

MESSAGE_DELETE = "$JS.API.STREAM.MSG.DELETE"
"""Single messages: needed for keys, which are overwritten when they are destroyed, and for nothing else."""


class Rights(NamedTuple):
    """What a role appends to, or sends, and what it hears, beside what all of them do."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()


_KEYS = f"$KV.{KEYS_BUCKET}.>"
_APPS = f"$KV.{APPS_BUCKET}.>"
_READ = (
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.DIRECT.GET.>",
    "$JS.API.CONSUMER.CREATE.>",
    "$JS.API.CONSUMER.INFO.>",
    "$JS.API.CONSUMER.DELETE.>",
    "$JS.API.CONSUMER.MSG.NEXT.>",
    "$JS.ACK.>",
    "$JS.FC.>",
)
"""To read a stream by position, to follow it, and to share its work."""
_TALK = ("_INBOX.>", "ctl.>")
"""Answers, and what roles say to each other: that a backup is made, how many calls a token has left."""
_HEAR = (_KEYS, _APPS)
"""That a key was destroyed, and an app changed."""

ROLES: Mapping[str, Rights] = {
    "api": Rights(
        (
            *("evt.>", "receipt.>", "signal.>", "state.client.>", "updates.store.>", _KEYS),
            *(_APPS, f"$KV.{CLAIMS_BUCKET}.>"),
        ),
        ("live.>",),
    ),
    "project": Rights(
        (
            "triage.>",
            f"$KV.{LEASES_BUCKET}.>",
            # As a RES service, which publishes for tills, too.
            "updates.store.>",
            f"$KV.{CLAIMS_BUCKET}.>",
            "msgxc.res.>",
            "system.reset",
            "event.updates.>",
            "conn.*.token",
        ),
        (
            "msgxc.res.>",
            "live.updates.store.>",
            "get.updates.>",
            "access.updates.>",
            "auth.updates.>",
            "call.updates.>",
        ),
    ),
    "dispatch": Rights(
        (
            *("evt.>", "audience.>", "dispatch.>", "outcome.>", "feed.>", "schedule.>", "state.client.>"),
            *("triage.>", _KEYS, _APPS, f"{MESSAGE_DELETE}.{KEYS_STREAM}"),
            *(f"$KV.{PLACES_BUCKET}.>", f"$KV.{LEASES_BUCKET}.>"),
        ),
    ),
    "resolve": Rights(
        (
            *("evt.>", "receipt.>", "schedule.>", "state.client.>", "triage.>", _KEYS),
            *(_APPS, f"$KV.{LEASES_BUCKET}.>"),
        ),
    ),
    **{
        f"gateway-{channel}": Rights((f"attempt.{channel}.>", f"outcome.{channel}.>", "triage.>", _APPS))
        for channel in BUILT_IN
        if channel != WEBSOCKET
    },
}
"""By role, as `msgxc` calls it."""


def accounts() -> str:
    """nats-server's configuration of one account with a user for each role; passwords are variables of their own.

    `OPERATOR_PASSWORD`, `API_PASSWORD`, `GATEWAY_APNS_PASSWORD` and so on, from the file that includes this one or
    from the server's environment.
    """
    users = [_user("operator", None), *(_user(name, rights) for name, rights in ROLES.items())]
    return (
        "# Written by `make schema` from infra/nats/rights.py: who may do what. See docs/guides/operating.md.\n"
        "accounts {\n  MSGXC {\n    jetstream: enabled\n    users: [\n" + "".join(users) + "    ]\n  }\n}\n"
    )


def password_of(user: str) -> str:
    """The name of the variable that holds a user's password."""
    return f"{user.upper().replace('-', '_')}_PASSWORD"


def _user(name: str, rights: Rights | None) -> str:
    head = f"      {{\n        user: {json.dumps(name)}\n        password: ${password_of(name)}\n"
    if rights is None:
        return f"{head}      }}\n"
    allowed = {
        "publish": (*_READ, *_TALK, *rights.publish),
        "subscribe": (*_TALK, *_HEAR, *rights.subscribe),
    }
    lines = [
        f"          {kind}: {{ allow: [\n"
        + "".join(f"            {json.dumps(subject)}\n" for subject in subjects)
        + "          ] }\n"
        for kind, subjects in allowed.items()
    ]
    return f"{head}        permissions: {{\n{''.join(lines)}        }}\n      }}\n"
