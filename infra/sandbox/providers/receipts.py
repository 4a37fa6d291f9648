"""What providers report later: Twilio's status callbacks and replies, SendGrid's event webhook. Signed as theirs are.

Owns the posts, made only when told to, and only to loopback addresses. Never follows a redirect, never repeats.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from infra.sandbox.books import Books, Item
from infra.sandbox.guard import is_loopback
from infra.sandbox.providers.sendgrid import SendGrid
from infra.sandbox.providers.twilio import START_WORDS, STOP_WORDS, Twilio

POST_TIMEOUT_S = 10.0
EVENTS_MAX = 1_000
"""As SendGrid batches them."""

TWILIO_STATUSES = frozenset({"queued", "sending", "sent", "delivered", "undelivered", "failed", "read"})
SENDGRID_EVENTS = frozenset(
    {"processed", "deferred", "delivered", "bounce", "dropped", "open", "click", "spamreport", "unsubscribe"}
    | {"group_unsubscribe", "group_resubscribe"}
)


class CannotReport(Exception):
    """There is nothing to report, or nowhere to report it to."""


class Receipts:
    """sendgrid_url, replies_url: the webhooks as set in the providers' consoles; "" while there are none."""

    def __init__(
        self, books: Books, twilio: Twilio, sendgrid: SendGrid, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._books, self._twilio, self._sendgrid, self._clock = books, twilio, sendgrid, clock
        self.sendgrid_url = self.replies_url = ""

    async def report(self, number: int, event: str, *, error_code: int | None = None, url: str = "") -> int:
        """What became of the booked message: the webhook's answer status.

        event: Twilio's MessageStatus or SendGrid's event. error_code: Twilio's, e.g. 30003. url: instead of the
        message's StatusCallback, or of the console's webhook. Raises CannotReport.
        """
        found = await self._books.find("id = ? AND arrived = 1", (number,))
        if not found:
            raise CannotReport(f"no message {number} has arrived")
        item = found[0]
        match item.provider:
            case "twilio":
                return await self._report_sms(item, event, error_code, url)
            case "sendgrid":
                return await self.report_mail([(item, event)], url=url)
            case _:
                raise CannotReport(f"{item.provider} reports nothing later")

    async def report_mail(self, events: list[tuple[Item, str]], *, url: str = "") -> int:
        """One post of SendGrid's event webhook; the same item may be in it twice."""
        if len(events) > EVENTS_MAX:
            raise CannotReport(f"no more than {EVENTS_MAX} events at once")
        body = msgspec.json.encode([self._mail_event(item, event) for item, event in events])
        timestamp = str(int(self._clock()))
        headers = {
            "content-type": "application/json",
            "x-twilio-email-event-webhook-timestamp": timestamp,
            "x-twilio-email-event-webhook-signature": self._sendgrid.signature(timestamp, body),
        }
        return await _post(url or self.sendgrid_url, body, headers)

    async def reply(self, cell: str, text: str, *, url: str = "") -> int:
        """A person answers an SMS. STOP and START change what Twilio accepts for the number first, as in life."""
        word = text.strip().upper()
        if word in STOP_WORDS:
            await self._twilio.opt_out(cell, out=True)
        elif word in START_WORDS:
            await self._twilio.opt_out(cell, out=False)
        form = self._twilio.inbound(cell, text)
        if word in STOP_WORDS | START_WORDS:
            form["OptOutType"] = "STOP" if word in STOP_WORDS else "START"
        return await self._post_signed(url or self.replies_url, form)

    async def _report_sms(self, item: Item, status: str, error_code: int | None, url: str) -> int:
        if status not in TWILIO_STATUSES:
            raise CannotReport(f"Twilio knows {', '.join(sorted(TWILIO_STATUSES))}")
        form = self._twilio.status(item, status, error_code)
        return await self._post_signed(url or item.extra.get("callback", ""), form)

    async def _post_signed(self, url: str, form: dict[str, str]) -> int:
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
            "x-twilio-signature": self._twilio.signature(url, form),
        }
        return await _post(url, urlencode(form).encode(), headers)

    def _mail_event(self, item: Item, event: str) -> dict[str, Any]:
        if event not in SENDGRID_EVENTS:
            raise CannotReport(f"SendGrid knows {', '.join(sorted(SENDGRID_EVENTS))}")
        told: dict[str, Any] = {
            **item.extra,
            "email": item.address,
            "timestamp": int(self._clock()),
            "event": event,
            "sg_event_id": secrets.token_urlsafe(22),
            "sg_message_id": item.provider_id,
        }
        if event == "bounce":
            told |= {
                "reason": f"550 5.1.1 <{item.address}>: The email account does not exist",
                "status": "5.1.1",
                "type": "bounce",
            }
        return told


async def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    host = urlsplit(url).hostname or ""
    if not url:
        raise CannotReport("no address to report to")
    if host != "localhost" and not is_loopback(host):
        raise CannotReport(f"the sandbox posts to this machine only, not to {host}")
    timeout = aiohttp.ClientTimeout(total=POST_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CannotReport(f"nobody takes it at {url}: {type(error).__name__}") from error
