"""E-mail through SendGrid's v3 Mail Send API: one request for a whole slice.

Owns the request's shape and the meaning of its answers. A request is taken or refused whole, so what one bad address
spoils is tried again without it.
Source: www.twilio.com/docs/sendgrid, "Mail Send".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from domain.deliveries import channel
from domain.deliveries.outcome import Accepted, Outcome, Rejected, Retry, Unknown
from domain.message import Content
from domain.text.number import whole_number
from gateways.mail.message import check_mail, is_address, sender_parts, subject_of, unsubscribe_headers
from gateways.port import Gateway, GatewayConfig, Notice, Target
from gateways.rendering import encode_json
from gateways.transport import Answer, Request, Result, Transport
from gateways.verdict import (
    RETRY_AFTER_S_MAX,
    Halt,
    Verdict,
    clipped,
    conclude,
    json_of,
    judge_each,
    listed,
    now_utc,
    retry_after_s,
    said,
    unanswered,
)

URL = "https://api.sendgrid.com"
PATH = b"/v3/mail/send"
PERSONALIZATIONS_MAX = 1_000
"""SendGrid's limit for one request."""

_CULPRIT = re.compile(r"personalizations\.([0-9]{1,4})\.")


class SendGridConfig(GatewayConfig, frozen=True, kw_only=True):
    """sender: `Example <news@example.org>`. unsubscribe_url: our public URL for one-click leaving, up to the token;
    unsubscribe_key: what tokens are made with (see domain.people.leaving).
    """

    SECRET = frozenset({"api_key", "unsubscribe_key"})

    api_key: str
    sender: str
    url: str = URL
    ca_file: str | None = None
    unsubscribe_url: str = ""
    unsubscribe_key: bytes = b""


class SendGridGateway:
    channel = channel.EMAIL
    slice_size = 500

    def __init__(
        self, config: SendGridConfig, transport: Transport, *, clock: Callable[[], datetime] = now_utc
    ) -> None:
        self._config, self._transport, self._clock = config, transport, clock
        self._sender = sender_parts(config.sender)

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        verdicts: list[Verdict] = [Rejected("bad-address", quarantine=True)] * len(targets)
        groups = without_repeats(targets)
        requests = [
            Request(PATH, self._body(notice, [targets[index] for index in group])) for group in groups
        ]
        results = await self._transport.post_many(requests, deadline_s=deadline_s)
        now = self._clock()
        judged = judge_each(
            self.channel, results, lambda place, result: judge(result, len(groups[place]), now)
        )
        for group, of_group in zip(groups, judged, strict=True):
            each = [of_group] * len(group) if isinstance(of_group, Unknown) else of_group
            for index, verdict in zip(group, each, strict=True):
                verdicts[index] = verdict
        return conclude(verdicts, targets=targets)

    def check(self, content: Content) -> None:
        check_mail(content)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _body(self, notice: Notice, targets: Sequence[Target]) -> bytes:
        name, address = self._sender
        return encode_json(
            {
                "personalizations": [self._personalization(notice, target) for target in targets],
                "from": {"email": address, "name": name} if name else {"email": address},
                "subject": subject_of(notice),
                "content": [{"type": "text/plain", "value": notice.content.text or " "}],
            }
        )

    def _personalization(self, notice: Notice, target: Target) -> dict[str, Any]:
        """custom_args come back with every event about this recipient."""
        ids = {"realm": notice.realm, "message_id": notice.message.hex}
        if target.contact is not None:
            ids["contact"] = target.contact.hex
        if target.client is not None:
            ids["client"] = target.client.hex
        personalization: dict[str, Any] = {"to": [{"email": target.address}], "custom_args": ids}
        config = self._config
        if headers := unsubscribe_headers(config.unsubscribe_url, config.unsubscribe_key, notice, target):
            personalization["headers"] = headers
        return personalization


def without_repeats(targets: Sequence[Target]) -> list[list[int]]:
    """Indexes in groups in which no address stands twice, since SendGrid refuses such a request. Mostly one group."""
    groups: list[list[int]] = []
    seen: dict[str, int] = {}
    for index, target in enumerate(targets):
        if not is_address(target.address):
            continue
        address = target.address.casefold()
        rank = seen[address] = seen.get(address, -1) + 1
        if rank == len(groups):
            groups.append([])
        groups[rank].append(index)
    return [
        group[at : at + PERSONALIZATIONS_MAX]
        for group in groups
        for at in range(0, len(group), PERSONALIZATIONS_MAX)
    ]


def judge(result: Result, count: int, now: datetime) -> list[Verdict]:
    """One verdict for each of the request's recipients."""
    if not isinstance(result, Answer):
        return [unanswered(result)] * count
    if result.status == 202:
        return [Accepted(provider_id=clipped(result.headers.get("x-message-id", "")))] * count
    problems = listed(json_of(result), "errors")
    detail = clipped("; ".join(said(problem, "message") for problem in problems))
    code = str(result.status)
    match result.status:
        case 429:
            wait_s = _until_reset_s(result, now)
            return [Retry(code, wait_s, detail)] * count
        case 401 | 403:
            return [Halt(code, detail)] * count
        case 404 | 405:
            return [Halt(code, detail or "no such path: check the URL")] * count
        case 400 | 413:
            return _judge_refusal(problems, count, code, detail)
        case 408 | 503:
            return [Retry(code, None, detail)] * count
        case status if status >= 500:
            # SendGrid may have taken it before it stumbled, or whoever stands before it.
            return [Unknown(code, detail)] * count
        case _:
            return [Rejected(code, detail=detail)] * count


def _judge_refusal(problems: Sequence[Any], count: int, code: str, detail: str) -> list[Verdict]:
    """Refused whole. Where single recipients are to blame, the others may go again without them."""
    culprits = {
        int(found[1]): said(problem, "message")
        for problem in problems
        if (found := _CULPRIT.match(f"{said(problem, 'field')}.")) is not None
    }
    if not culprits:
        return [Rejected(code, detail=detail)] * count
    return [
        Rejected(code, quarantine=True, detail=culprits[index])
        if index in culprits
        else Retry("refused-with-others", 0.0)
        for index in range(count)
    ]


def _until_reset_s(answer: Answer, now: datetime) -> float | None:
    """X-RateLimit-Reset is the time, in Unix seconds, when the limit is lifted."""
    reset = whole_number(answer.headers.get("x-ratelimit-reset", ""))
    if reset is not None:
        return min(max(reset - now.timestamp(), 1.0), RETRY_AFTER_S_MAX)
    return retry_after_s(answer.headers, now)


def open_sendgrid(config: SendGridConfig) -> Gateway:
    from gateways.http1 import Http1Transport

    transport = Http1Transport(
        config.url,
        ca_file=config.ca_file,
        constants=(
            (b"authorization", f"Bearer {config.api_key}".encode()),
            (b"content-type", b"application/json"),
        ),
    )
    return SendGridGateway(config, transport)
