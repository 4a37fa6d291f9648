"""Apps in whose name a test's messages are sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateways.port import AppSender


@dataclass(slots=True)
class SomeSenders:
    """gateways.port.AppSending: what a test has put in, by code."""

    senders: dict[str, AppSender] = field(default_factory=dict)

    def add(self, sender: AppSender) -> None:
        self.senders[sender.code] = sender

    async def sender(self, realm: str, app: str, channel: str) -> AppSender | None:
        return self.senders.get(app)
