"""Text messages through Twilio's Programmable Messaging API.

Owns the form Twilio gets and the meaning of its error codes. Twilio knows no idempotency key, so a send whose answer
was lost is Unknown, and before a repeat Twilio is asked whether it has the first: a person's phone rings once.
Source: twilio.com/docs, "Messages resource" and "Error and warning dictionary".
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from domain.deliveries import channel
from domain.deliveries.outcome import FOUND, Accepted, Gone, Outcome, Rejected, Retry, Suppressed, Unknown
from domain.errors import Invalid, TooLarge
from domain.message import Content
from domain.text.number import number
from gateways.port import Channel, Gateway, GatewayConfig, Notice, Target
from gateways.transport import Answer, Request, Result, Transport
from gateways.verdict import (
    Credit,
    Halt,
    Verdict,
    at,
    clipped,
    conclude,
    json_of,
    judge_each,
    mail_date,
    now_utc,
    retry_after_s,
    said,
    seconds_left,
    unanswered,
    untrusted,
)

URL = "https://api.twilio.com"
TEXT_CHARS_MAX = 1_600
"""Twilio refuses longer ones (21617)."""
VALIDITY_S_MAX = 14_400
"""The longest ValidityPeriod every account may ask for; a message that lives longer is left at Twilio's default."""
LISTED_MAX = 50
"""Twilio lists the newest first; no number gets more between two tries."""
CLOCK_SLACK = timedelta(seconds=5)
"""Between the clocks of our own machines, the date in Twilio's answer having told the difference to Twilio's."""
CLOCK_SKEW = timedelta(minutes=2)
"""Where no date told it."""
CLOCK_DIFFERENCE_MAX = timedelta(days=1)
"""A date further away is none."""
SIDS_MAX = 20_000
"""Whose messages Twilio has, as remembered: some minutes of the fastest sending, some megabytes."""

OPTED_OUT = frozenset({21610})
NO_SUCH_NUMBER = frozenset({21211, 21614})
OUR_CREDENTIALS = frozenset({20003, 20005, 20006, 20008, 21603, 21703})
"""Account or messaging service: wrong for every number, not for this one."""
OUR_SENDER = frozenset({21606, 21659, 21660})
"""The sender is none of this account's, or none that may write there: mostly for every number, sometimes for one."""
NOT_FROM_HERE = frozenset({21612})
"""A landline, or a country that this sender cannot reach: of this number, whoever else is written to."""
TOO_FAST = frozenset({20429, 14107, 21611, 63038})


class TwilioConfig(GatewayConfig, frozen=True, kw_only=True):
    """sender: a number, an alphanumeric id or a messaging service (MG...). status_callback_url: where Twilio reports
    deliveries to, our public URL; unset: it does not. ca_file: instead of the system's authorities.
    """

    SECRET = frozenset({"auth_token"})

    account_sid: str
    auth_token: str
    sender: str
    url: str = URL
    ca_file: str | None = None
    status_callback_url: str | None = None


class Asking(Transport, Protocol):
    async def get_many(self, paths: Sequence[bytes], *, deadline_s: float) -> list[Result]: ...


class SmsGateway:
    """slice_size: what 32 requests in flight get through in a few seconds."""

    channel = channel.SMS
    slice_size = 100

    def __init__(
        self, config: TwilioConfig, transport: Asking, *, clock: Callable[[], datetime] = now_utc
    ) -> None:
        self._config, self._transport, self._clock = config, transport, clock
        self._credit = Credit(clock)
        self._sends: OrderedDict[str, str] = OrderedDict()
        """By Twilio's name for a message: ours for the send."""
        self._path = f"/2010-04-01/Accounts/{config.account_sid}/Messages.json"

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        loop, now = asyncio.get_running_loop(), self._clock()
        until = loop.time() + deadline_s
        verdicts = await self._earlier(notice, targets, deadline_s=deadline_s)
        unsent = [index for index, verdict in enumerate(verdicts) if verdict is None]
        requests = [Request(self._path.encode(), self._form(notice, targets[index], now)) for index in unsent]
        results = await self._transport.post_many(requests, deadline_s=until - loop.time())
        now = self._clock()
        judged = judge_each(self.channel, results, lambda _, result: judge(result, now))
        for index, verdict in zip(unsent, judged, strict=True):
            verdicts[index] = verdict
            self._remember(notice, targets[index], verdict)
        known = [verdict for verdict in verdicts if verdict is not None]
        return conclude(known, self._credit, targets=targets)

    async def _earlier(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> list[Verdict | None]:
        """What became of an earlier try whose answer was lost; None where there was none, or Twilio has none."""
        verdicts: list[Verdict | None] = [None] * len(targets)
        lost = [(i, target, target.repeats_since) for i, target in enumerate(targets) if target.repeats_since]
        if lost:
            paths = [self._query(target) for _, target, _ in lost]
            results = await self._transport.get_many(paths, deadline_s=deadline_s)
            text, now = notice.content.text, self._clock()
            later = twilio_is_later_by(results, now)

            def judge_found(place: int, result: Result) -> Verdict | None:
                _, target, since = lost[place]
                others = self._sids_of_others(notice, target)
                verdict = found_in(result, text, since + later, now, others)
                self._remember(notice, target, verdict)
                return verdict

            judged = judge_each(self.channel, results, judge_found)
            for (index, _, _), verdict in zip(lost, judged, strict=True):
                verdicts[index] = verdict
        return verdicts

    def _remember(self, notice: Notice, target: Target, verdict: Verdict | None) -> None:
        """Which send a message at Twilio came of, so that it is not taken for another with the same words."""
        if isinstance(verdict, Accepted) and verdict.provider_id:
            self._sends[verdict.provider_id] = target.send_id(notice.message)
            while len(self._sends) > SIDS_MAX:
                self._sends.popitem(last=False)

    def _sids_of_others(self, notice: Notice, target: Target) -> Callable[[str], bool]:
        own = target.send_id(notice.message)
        return lambda sid: self._sends.get(sid, own) != own

    def check(self, content: Content) -> None:
        if not content.text.strip():
            raise Invalid("an SMS needs a text", field="msg")
        if len(content.text) > TEXT_CHARS_MAX:
            raise TooLarge(
                f"an SMS carries {TEXT_CHARS_MAX} characters, this message has {len(content.text)}",
                field="msg",
            )

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _form(self, notice: Notice, target: Target, now: datetime) -> bytes:
        sender = self._config.sender
        fields = {
            "To": target.address,
            "MessagingServiceSid" if sender.startswith("MG") else "From": sender,
            "Body": notice.content.text,
        }
        if (left_s := seconds_left(notice, now)) <= VALIDITY_S_MAX:
            fields["ValidityPeriod"] = str(max(1, left_s))
        if self._config.status_callback_url:
            fields["StatusCallback"] = callback_url(self._config.status_callback_url, notice, target)
        return urlencode(fields).encode()

    def _query(self, target: Target) -> bytes:
        """Not by date: what is queued has no date sent yet."""
        return f"{self._path}?{urlencode({'To': target.address, 'PageSize': LISTED_MAX})}".encode()


def callback_url(base: str, notice: Notice, target: Target) -> str:
    """Says whose message a report is about; Twilio signs the whole URL, so nobody else can."""
    query = {"realm": notice.realm, "message_id": notice.message.hex}
    if target.contact is not None:
        query["contact"] = target.contact.hex
    return f"{base}{'&' if urlsplit(base).query else '?'}{urlencode(query)}"


def judge(result: Result, now: datetime) -> Verdict:
    if not isinstance(result, Answer):
        return unanswered(result)
    body = json_of(result)
    if 200 <= result.status < 300:
        return Accepted(provider_id=said(body, "sid"))
    code = number(at(body, "code"))
    return _judge_error(result, result.status if code is None else int(code), said(body, "message"), now)


def _judge_error(result: Answer, code: int, detail: str, now: datetime) -> Verdict:
    name = str(code)
    if result.status in {408, 429} or code in TOO_FAST:
        asked_s = retry_after_s(result.headers, now)
        return Retry(name, asked_s, detail)
    if code in OPTED_OUT:
        return Suppressed(name, detail)
    if code in NO_SUCH_NUMBER:
        return Gone(name, detail=detail)
    if code in NOT_FROM_HERE:
        return Rejected(name, quarantine=True, detail=detail)
    if result.status in {401, 403, 404} or code in OUR_CREDENTIALS:
        return Halt(name, detail)
    if code in OUR_SENDER:
        return Halt(name, detail, doubtful=True)
    if result.status == 503:
        return Retry(name, None, detail)
    if result.status >= 500:
        # Twilio may have queued it before it stumbled, or whoever stands before it.
        return Unknown(name, detail)
    return Rejected(name, detail=detail)


def twilio_is_later_by(results: Sequence[Result], now: datetime) -> timedelta:
    """How far Twilio's clock is ahead of ours, by its answers, less what the clocks may be wrong by. now: when the
    last of them had come.
    """
    dates = [
        date
        for result in results
        if isinstance(result, Answer) and (date := mail_date(result.headers.get("date", ""))) is not None
    ]
    difference = max(dates) - now if dates else CLOCK_DIFFERENCE_MAX
    return difference - CLOCK_SLACK if abs(difference) < CLOCK_DIFFERENCE_MAX else -CLOCK_SKEW


def found_in(
    result: Result,
    text: str,
    since: datetime,
    now: datetime,
    is_anothers: Callable[[str], bool] | None = None,
) -> Verdict | None:
    """What Twilio's list of messages to a number says of one of them. Where it cannot be asked, nothing is sent.

    since: by Twilio's clock. is_anothers: whether the message of a sid is known to have come of another send.
    """
    if not isinstance(result, Answer):
        return (
            Halt(result.code, clipped(result.detail))
            if untrusted(result)
            else Unknown(f"asked: {result.code}")
        )
    messages = at(json_of(result), "messages")
    if result.status != 200 or not isinstance(messages, list):
        refusal = judge(result, now)
        return refusal if isinstance(refusal, Halt) else Unknown(f"asked: {result.status}")
    recent = [message for message in messages if _created(message) >= since]
    for message in recent:
        sid = said(message, "sid")
        if at(message, "body") == text and not (is_anothers is not None and is_anothers(sid)):
            return Accepted(provider_id=sid, detail=FOUND)
    return Unknown("asked: too many to tell") if len(recent) >= LISTED_MAX else None


def _created(message: Any) -> datetime:
    return mail_date(said(message, "date_created")) or datetime.min.replace(tzinfo=UTC)


def build(config: TwilioConfig) -> Gateway:
    from gateways.http1 import Http1Transport

    basic = b64encode(f"{config.account_sid}:{config.auth_token}".encode())
    transport = Http1Transport(
        config.url,
        ca_file=config.ca_file,
        constants=(
            (b"authorization", b"Basic " + basic),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ),
    )
    return SmsGateway(config, transport)


CHANNEL = Channel(channel.SMS, TwilioConfig, build)
