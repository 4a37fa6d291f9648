"""What the sandbox was told to answer instead of its own judgement.

Owns the rules in force: which requests they match, how often, and what is done. A rule never decides what is
booked beyond its own `processed`; it knows no protocol. Rules live in memory: a restart is a clean slate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

NAMES = frozenset({"apns", "fcm", "webpush", "sms", "email", "twilio", "sendgrid", "smtp"})

RULES_MAX = 10_000
"""One rule per address of the largest broadcast a test makes; beyond that a rule is forgotten clean-up."""

DELAY_S_MAX = 3600.0
"""No rule may hold a request longer than any client would wait."""


ErrorName = Literal[
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "STREAM_CLOSED",
    "REFUSED_STREAM",
    "CANCEL",
    "ENHANCE_YOUR_CALM",
    "HTTP_1_1_REQUIRED",
]


class Respond(msgspec.Struct, frozen=True, tag="respond", forbid_unknown_fields=True):
    """Answer with this status.

    reason: put into the provider's own error body (APNs `reason`, FCM `errorCode`, Twilio `code`, SendGrid
    `message`, the text of an SMTP reply). body: instead of that body, as it is. headers: added, and stronger than
    the provider's. piece_bytes: the body goes out in pieces of this size.
    """

    status: int
    reason: str = ""
    body: str | None = None
    headers: dict[str, str] = {}
    piece_bytes: int = 0

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError("status must be between 200 and 599")


class Proceed(msgspec.Struct, frozen=True, tag="proceed", forbid_unknown_fields=True):
    """Judge as usual: for a delay, or for the usual body in pieces."""

    piece_bytes: int = 0


class Hang(msgspec.Struct, frozen=True, tag="hang", forbid_unknown_fields=True):
    """Never answer. processed: the message was taken all the same, only the answer is lost."""

    processed: bool = False


class Reset(msgspec.Struct, frozen=True, tag="reset", forbid_unknown_fields=True):
    """Cut off: an HTTP/2 stream by RST_STREAM with `error`, anything else (or `connection`) by TCP reset."""

    processed: bool = False
    connection: bool = False
    error: ErrorName = "INTERNAL_ERROR"


class Refuse(msgspec.Struct, frozen=True, tag="refuse", forbid_unknown_fields=True):
    """RST_STREAM with REFUSED_STREAM: certainly not processed. HTTP/1.1 and SMTP: closed without a word."""


class GoAway(msgspec.Struct, frozen=True, tag="goaway", forbid_unknown_fields=True):
    """HTTP/2 GOAWAY, then the connection closes after `linger_s`.

    processed: this request's stream is the last one processed, else the one before it. Streams up to that one are
    answered as long as the connection lingers, those above are ignored. HTTP/1.1 and SMTP: closed.
    """

    processed: bool = False
    linger_s: float = 0.0
    error: ErrorName = "NO_ERROR"


Action = Respond | Proceed | Hang | Reset | Refuse | GoAway


Stage = Literal["connect", "ehlo", "auth", "mail", "rcpt", "data"]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """channel: apns, fcm, webpush, sms, email; or a provider alone: twilio, sendgrid, smtp.

    address: what `match` compares with. count: how many requests it answers, None: until it is deleted.
    delay_s: wait before the action. stage: SMTP only, the command that is answered so.
    """

    channel: str
    address: str = ""
    match: Literal["any", "exact", "prefix"] = "any"
    count: int | None = 1
    delay_s: float = 0.0
    stage: Stage = "rcpt"
    action: Action

    def __post_init__(self) -> None:
        if self.channel not in NAMES:
            raise ValueError(f"channel must be one of {', '.join(sorted(NAMES))}")
        if not 0 <= self.delay_s <= DELAY_S_MAX:
            raise ValueError(f"delay_s must be between 0 and {DELAY_S_MAX:g}")
        if self.count is not None and self.count < 1:
            raise ValueError("count must be 1 or more; leave it null for until deleted")
        if self.match != "any" and not self.address:
            raise ValueError(f"match {self.match} needs an address")


class _Standing:
    """A rule with what is left of its count."""

    __slots__ = ("left", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule, self.left = rule, rule.count

    def use(self) -> bool:
        """Count one use; False when that was the last."""
        if self.left is None:
            return True
        self.left -= 1
        return self.left > 0


class Rules:
    """The rules in force. An exact rule is stronger than a prefix, a prefix than any; then the oldest first."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], deque[_Standing]] = {}
        self._prefix: deque[_Standing] = deque()
        self._any: deque[_Standing] = deque()
        self._size = 0

    def add(
        self,
        channel: str,
        action: Action,
        *,
        exact: str = "",
        prefix: str = "",
        count: int | None = 1,
        delay_s: float = 0.0,
        stage: Stage = "rcpt",
    ) -> None:
        """One rule: `rules.add("apns", Respond(410, "Unregistered"), exact=token)`."""
        match: Literal["any", "exact", "prefix"] = "exact" if exact else "prefix" if prefix else "any"
        rule = Rule(
            channel=channel,
            address=exact or prefix,
            match=match,
            count=count,
            delay_s=delay_s,
            stage=stage,
            action=action,
        )
        self.put_all([rule])

    def put_all(self, rules: Sequence[Rule]) -> None:
        """All of them or none. Raises ValueError when there would be too many."""
        if self._size + len(rules) > RULES_MAX:
            raise ValueError(f"no more than {RULES_MAX} rules at a time")
        for rule in rules:
            self._put(rule)

    def take(self, names: tuple[str, ...], addresses: tuple[str, ...], *, stage: str = "") -> Rule | None:
        """The rule for a request to one of these addresses, its use counted; None: judge as usual.

        names: what the provider answers to, e.g. ("email", "sendgrid"). stage: SMTP's command.
        """
        if not self._size:
            return None
        for address in addresses:
            for name in names:
                queue = self._exact.get((name, address))
                if queue and (rule := self._use(queue, names, addresses, stage)):
                    if not queue:
                        del self._exact[name, address]
                    return rule
        return self._use(self._prefix, names, addresses, stage) or self._use(
            self._any, names, addresses, stage
        )

    def list(self) -> list[Rule]:
        """What stands, with what is left of each count."""
        queues = [*self._exact.values(), self._prefix, self._any]
        return [msgspec.structs.replace(s.rule, count=s.left) for queue in queues for s in queue]

    def clear(self) -> None:
        self._exact.clear()
        self._prefix.clear()
        self._any.clear()
        self._size = 0

    def _put(self, rule: Rule) -> None:
        standing = _Standing(rule)
        match rule.match:
            case "exact":
                self._exact.setdefault((rule.channel, rule.address), deque()).append(standing)
            case "prefix":
                self._prefix.append(standing)
            case "any":
                self._any.append(standing)
        self._size += 1

    def _use(
        self, queue: deque[_Standing], names: tuple[str, ...], addresses: tuple[str, ...], stage: str
    ) -> Rule | None:
        for standing in queue:
            if _matches(standing.rule, names, addresses, stage):
                if not standing.use():
                    queue.remove(standing)
                    self._size -= 1
                return standing.rule
        return None


def _matches(rule: Rule, names: tuple[str, ...], addresses: tuple[str, ...], stage: str) -> bool:
    if rule.channel not in names:
        return False
    if stage and stage != rule.stage:
        return False
    if rule.match == "any":
        return True
    if rule.match == "exact":
        return rule.address in addresses
    return any(address.startswith(rule.address) for address in addresses)
