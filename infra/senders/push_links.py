"""The links that a web domain's notifications carry: made under the key of the month, which the key store keeps.

One key for all domains; the next month's is made when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from commands.port import KeyStore
from domain.app import AppFacts
from domain.notifications.push_links import ContactLink, MessageLink, key_name, month_of, seal_link
from gateways.port import EventLinks, Links, Target

APPS_MAX = 10_000
"""Web domains whose links are remembered; all are made anew when there are more."""


class PushLinks:
    """infra.senders.sending.LinksOfApps. public_url: where browsers reach us; "": no links are made."""

    def __init__(self, keys: KeyStore, *, public_url: str, clock: Callable[[], datetime]) -> None:
        self._keys, self._url, self._clock = keys, public_url.rstrip("/"), clock
        self._made: dict[UUID, DomainLinks] = {}

    async def links(self, app: AppFacts) -> Links | None:
        if not self._url or app.settings.kind != "web-domain":
            return None
        month = month_of(self._clock())
        known = self._made.get(app.id)
        if known is not None and known.month == month and known.realm == app.realm:
            return known
        key = await self._keys.key(key_name(month), create=True)
        if key is None:
            return None
        if len(self._made) >= APPS_MAX:
            self._made.clear()
        made = self._made[app.id] = DomainLinks(self._url, app, key, month)
        return made


class DomainLinks:
    """gateways.port.Links of one domain in one month."""

    def __init__(self, url: str, app: AppFacts, key: bytes, month: int) -> None:
        self._url, self._app, self._key, self.month = url, app.id, key, month
        self.realm = app.realm

    def of(
        self, message: UUID, campaign: str, target: Target, channel: str, actions: Sequence[str]
    ) -> EventLinks:
        client = target.client or UUID(int=0)
        whom = ContactLink(self.realm, self._app, channel, client, target.contact)
        which = MessageLink(self.realm, self._app, message, _id(campaign) or message)
        contact, about = (seal_link(part, self._key, self.month) for part in (whom, which))
        base = f"{self._url}/push-contacts/{contact}/messages/{about}"
        return EventLinks(
            clicked=f"{base}/clicked",
            received=f"{base}/received",
            actions=tuple(f"{base}/actionClick/{quote(action, safe='')}" for action in actions),
        )


def _id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
