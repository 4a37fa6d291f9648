"""From results of a transport to outcomes: what all gateways judge alike.

Pure, but for the log of answers that nobody understands. What a provider's own codes mean is each gateway's to say.
Whatever an answer holds, what is read of it here is a short text, a number or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import zip_longest
from typing import Any

import msgspec
import structlog

from domain.deliveries.outcome import Accepted, Expired, Outcome, Retry, Unknown
from domain.text.number import whole_number
from gateways.port import ChannelHalted, Notice, Target
from gateways.transport import Answer, NoAnswer, NotSent, Result

log = structlog.get_logger(__name__)

HALT_S = 60.0
"""How long a halted channel rests before it is tried again; the alarm is louder than the retry."""
CREDIT_S = timedelta(minutes=5)
"""Credentials that are revoked are noticed after this; until then what is refused waits for its next try."""
RETRY_AFTER_S_MAX = 86_400.0
"""A provider that says more is not believed."""
DATE_CHARS_MAX = 100
"""Three times the longest that anybody writes."""
DETAIL_CHARS_MAX = 300
"""Of a provider's own words, kept in the outcome."""
OWN_CHARS_MIN = 3
"""A shorter part of an address tells nobody whose it is, and stands in many a word."""
_PERSONAL = re.compile(
    r"""[^\s<>()\[\],;:"'@]{1,64}@[^\s<>()\[\],;:"'@]{1,255}"""  # a mailbox
    r"""|\+[0-9](?:[ ().-]{0,2}[0-9]){5,14}"""  # a number as E.164 has it
    r"""|[^\s]{1,64}…$"""  # a word that was cut off may have been either
)
NOT_UNDERSTOOD = "not-understood"
"""Code of an Unknown: there was an answer, and reading it failed, which is a fault of ours."""


class Halt(msgspec.Struct, frozen=True):
    """The verdict on one send that says: it is not this address, it is our credentials or configuration.

    doubtful: it may be the address after all, one that belongs to somebody else's credentials.
    """

    code: str
    detail: str = ""
    doubtful: bool = False


Verdict = Outcome | Halt


def now_utc() -> datetime:
    return datetime.now(UTC)


class Credit:
    """How lately a provider has taken something of ours: then our credentials work.

    A push token is what a user says it is. One that belongs to another project is refused as if our credentials were
    wrong, and must not stop the channel for everybody.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock, self._accepted_at = clock, datetime.min.replace(tzinfo=UTC)

    def is_good(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether something was taken within CREDIT_S, these verdicts included."""
        now = self._clock()
        if any(isinstance(verdict, Accepted) for verdict in verdicts):
            self._accepted_at = now
        return now - self._accepted_at < CREDIT_S


def judge_each[V](
    channel: str, results: Sequence[Result], judge: Callable[[int, Result], V]
) -> list[V | Unknown]:
    """One verdict for each result. judge: gets the result and its place.

    A result that cannot be judged is Unknown by itself: the others of its slice are not sent again for it.
    """
    verdicts: list[V | Unknown] = []
    faults: list[Exception] = []
    for place, result in enumerate(results):
        try:
            verdicts.append(judge(place, result))
        except Exception as fault:  # noqa: BLE001  whatever it is, it is this answer's alone
            faults.append(fault)
            verdicts.append(Unknown(NOT_UNDERSTOOD, type(fault).__name__))
    if faults:
        log.error("answers_not_understood", channel=channel, answers=len(faults), exc_info=faults[0])
    return verdicts


def conclude(
    verdicts: Sequence[Verdict], credit: Credit | None = None, *, targets: Sequence[Target] = ()
) -> list[Outcome]:
    """The outcomes of a slice. Raises ChannelHalted, with the outcomes so far, when any send says so.

    With good credit a doubtful one halts nothing: it is tried again by the usual policy. targets: whom the verdicts
    are about, in order. Outcomes are kept for ever: what providers say in them names nobody.
    """
    verdicts = [
        msgspec.structs.replace(each, detail=impersonal(each.detail, target.address if target else ""))
        if each.detail
        else each
        for each, target in zip_longest(verdicts, targets)
    ]
    if credit is not None and credit.is_good(verdicts):
        verdicts = [
            Retry(each.code, None, each.detail) if isinstance(each, Halt) and each.doubtful else each
            for each in verdicts
        ]
    halt = next((verdict for verdict in verdicts if isinstance(verdict, Halt)), None)
    outcomes: list[Outcome] = [
        Retry(verdict.code, HALT_S, verdict.detail) if isinstance(verdict, Halt) else verdict
        for verdict in verdicts
    ]
    if halt is not None:
        raise ChannelHalted(halt.code, outcomes, detail=halt.detail, retry_after_s=HALT_S)
    return outcomes


def untrusted(result: NotSent | NoAnswer) -> bool:
    """The provider could not prove who it is, or does not speak its own protocol."""
    return isinstance(result, NotSent) and result.code in {"tls", "http2"}


def unanswered(result: NotSent | NoAnswer) -> Verdict:
    """Certainly not processed: again. Perhaps processed: Unknown. A provider we cannot trust halts the channel."""
    match result:
        case NotSent(code, detail) if untrusted(result):
            return Halt(code, clipped(detail))
        case NotSent(code, detail):
            return Retry(code, None, clipped(detail))
        case NoAnswer(code, detail):
            return Unknown(code, clipped(detail))


def in_time(after_s: float, notice: Notice, now: datetime, retry: Retry) -> Outcome:
    """A retry that the provider wants later than the message lives is no retry."""
    return Expired(detail=retry.code) if now.timestamp() + after_s >= notice.expires_at.timestamp() else retry


def seconds_left(notice: Notice, now: datetime) -> int:
    return max(0, int((notice.expires_at - now).total_seconds()))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Retry-After in seconds or as a date (RFC 9110, 10.2.3); None when absent or nonsense."""
    value = headers.get("retry-after", "").strip()
    seconds: float | None = whole_number(value)
    if seconds is None and (date := mail_date(value)) is not None:
        seconds = (date - now).total_seconds()
    return None if seconds is None else min(max(seconds, 0.0), RETRY_AFTER_S_MAX)


def mail_date(text: str) -> datetime | None:
    """A date as in mails and HTTP (RFC 5322, 3.3), UTC where it names no zone; None for what is none."""
    if len(text) > DATE_CHARS_MAX:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def impersonal(words: str, address: str = "") -> str:
    """A provider's own words with "…" for each mailbox and number in them, and for the address they are about."""
    words = _PERSONAL.sub("…", words)
    for own in (address, address.lstrip("+"), address.partition("@")[0]):
        if len(own) >= OWN_CHARS_MIN and own in words:
            words = re.sub(rf"(?<!\w){re.escape(own)}(?!\w)", "…", words)
    return words


def clipped(text: str) -> str:
    """Short, and fit to be recorded: bytes that were no text have become halves of characters on their way here."""
    short = text if len(text) <= DETAIL_CHARS_MAX else text[: DETAIL_CHARS_MAX - 1] + "…"
    return short if short.isascii() else short.encode("utf-8", "replace").decode()


def json_of(answer: Answer) -> Any:
    """The body as JSON, None when it is none (or was cut off, or is nested beyond reason)."""
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def at(value: Any, *path: str | int) -> Any:
    """A value inside JSON one does not trust; None when the path leads nowhere."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def said(value: Any, *path: str | int) -> str:
    """The text or number there, short; "" for anything else."""
    found = at(value, *path)
    return clipped(str(found)) if isinstance(found, str | int | float) else ""


def listed(value: Any, *path: str | int) -> list[Any]:
    """The list there; an empty one when there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []
