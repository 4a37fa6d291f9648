"""Clicks: a push that was opened on a device, and says so by its sid, becomes a receipt of its delivery.

Follows the signals that have an effect. What is done again is another record of the same, and changes no state.
"""

from __future__ import annotations

from domain.deliveries.delivery import Receipt
from domain.devices.device_actions import clicked_sid
from domain.devices.signal import DeviceEvents
from domain.notifications.sid import read_sid
from domain.recorded import SIGNALS
from processes.port import Append, Log, Task
from processes.worker import Post, work

CLICKED = Post(SIGNALS, "clicks", ("signal.effects.>",), in_flight=16)


class Clicks:
    """sid_key: what sids are made with (domain/notifications/sid.py)."""

    def __init__(self, *, log: Log, sid_key: bytes) -> None:
        self._log, self._sid_key = log, sid_key

    async def run(self) -> None:
        await work(self._log, CLICKED, self.handle)

    async def handle(self, task: Task) -> None:
        fact = task.fact
        if not isinstance(fact.body, DeviceEvents):
            return
        # A push that was opened twice in one request is still opened once.
        texts = dict.fromkeys(text for event in fact.body.events if (text := clicked_sid(event)))
        for text in texts:
            sid = read_sid(self._sid_key, text)
            if sid is None or sid.realm != fact.realm:
                continue  # another system's push; that it was opened is on the stream
            receipt = Receipt(
                realm=sid.realm,
                message=sid.message,
                channel=sid.channel,
                contact=sid.contact,
                client=sid.client,
                kind="clicked",
                at=fact.at,
            )
            subject = f"receipt.{sid.channel}.{sid.message.hex}"
            await self._log.append(Append(subject, receipt, None, fact.correlation))
