"""How each app sends: its settings, its VAPID key and its links, put together for the gateways.

Owns nothing but the last answer for each app. Never asks the log: the directory follows the apps' events.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from domain.app import AppFacts
from domain.deliveries.channel import WEBPUSH
from gateways.port import AppSender, Links, VapidKeys
from processes.directories import AppDirectory

SENDERS_MAX: Final = 5_000
"""Answers remembered, a kilobyte each: so that a sender stays the same object as long as nothing changes."""


class LinksOfApps(Protocol):
    """The links that an app's recipients report by."""

    async def links(self, app: AppFacts) -> Links | None:
        """None where nothing reports by them. From memory but for the first time after a key has changed; the same
        object as long as none has.
        """
        ...


class DirectorySending:
    """gateways.port.AppSending. sid_key: from domain.notifications.sid.sid_key."""

    def __init__(
        self, apps: AppDirectory, vapid: VapidKeys, *, sid_key: bytes, links: LinksOfApps | None = None
    ) -> None:
        self._apps, self._vapid, self._links = apps, vapid, links
        self._sid_key = sid_key
        self._made: OrderedDict[tuple[str, str], tuple[AppFacts, AppSender]] = OrderedDict()

    async def sender(self, realm: str, app: str, channel: str) -> AppSender | None:
        facts = await self._apps.app(app)
        if facts is None or facts.realm != realm or not facts.settings.may_push:
            return None
        links = await self._links.links(facts) if self._links is not None else None
        known, sender = self._made.get((facts.code, channel), (None, None))
        if sender is None or known != facts or sender.links is not links:
            sender = await self._make(facts, channel, links)
            self._made[facts.code, channel] = facts, sender
            if len(self._made) > SENDERS_MAX:
                self._made.popitem(last=False)
        self._made.move_to_end((facts.code, channel))
        return sender

    async def _make(self, facts: AppFacts, channel: str, links: Links | None) -> AppSender:
        push = facts.settings.push
        return AppSender(
            code=facts.code,
            style=facts.settings.push_style,
            apns_topic=push.apns_topic or "",
            vapid_key_pem=await self._vapid.private_key_pem(facts.id) if channel == WEBPUSH else "",
            android=push.android_payload,
            sid_key=self._sid_key,
            links=links,
        )
