"""Who does something, in which realm, and because of what."""

from __future__ import annotations

from uuid import UUID

import msgspec

DEFAULT_REALM = "main"
ADMIN_ROLES = frozenset({"admin", "msgxc_admin"})


class Context(msgspec.Struct, frozen=True):
    """Travels with every command into the envelope of its events.

    actor: the caller's uid, or the name of the process that acts.
    causation: the position or id of what this follows from; correlation: the request's id, kept along
    the whole chain.
    """

    realm: str = DEFAULT_REALM
    actor: str = ""
    causation: str = ""
    correlation: str = ""


class Caller(msgspec.Struct, frozen=True):
    """A verified caller. method "svc" is a service: it may publish to any thread of its realm.

    shops: those that the token names (see domain.shop). apps: codes of the apps in whose name it may send, in one
    case.
    """

    uid: str
    realm: str = DEFAULT_REALM
    roles: frozenset[str] = frozenset()
    method: str = ""
    shops: frozenset[UUID] = frozenset()
    apps: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        return bool(self.roles & ADMIN_ROLES)

    @property
    def is_service(self) -> bool:
        return self.method == "svc"

    def may_send_for(self, app: str) -> bool:
        """Whether messages may go out in the app's name, to its own clients."""
        return self.is_admin or app.casefold() in self.apps
