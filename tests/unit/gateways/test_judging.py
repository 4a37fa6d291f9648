"""Whatever a provider answers, every judge has a verdict on it that can be recorded, and none raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from domain.deliveries.outcome import Accepted, Gone, Outcome, Unknown
from gateways import apns, fcm, sms, webpush
from gateways.apns import ApnsConfig, ApnsGateway, ProviderToken
from gateways.mail import sendgrid, smtp
from gateways.port import AppSender, ChannelHalted
from gateways.transport import Answer, Header, NoAnswer, NotSent, Request, Result
from gateways.verdict import (
    NOT_UNDERSTOOD,
    Halt,
    Verdict,
    clipped,
    conclude,
    judge_each,
    mail_date,
    retry_after_s,
)
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import make_key

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOTICE = notice()
OF_APP = msgspec.structs.replace(NOTICE, app=AppSender(code="shop", apns_topic="t", vapid_key_pem="pem"))
COUNT = 3

JUDGES: dict[str, Callable[[Result], Sequence[Verdict | None]]] = {
    "apns": lambda result: [apns.judge(result, "id"), apns.judge(result, "id", of_app=True)],
    "fcm": lambda result: [fcm.judge(result, NOTICE, NOW)],
    "webpush": lambda result: [webpush.judge(result, each, NOW) for each in (NOTICE, OF_APP)],
    "sms": lambda result: [sms.judge(result, NOW)],
    "asking": lambda result: [sms.found_in(result, "text", NOW, NOW)],
    "sendgrid": lambda result: sendgrid.judge(result, COUNT, NOW),
}

DIGITS = st.sampled_from(["\xb2", "²", "٣", "9" * 5_000, "1" * 19, "-1", "", "0", "60", "1e9", "NaN"])
DATES = st.sampled_from(
    [
        "Fri, 31 Dec 9999 23:59:59 -0000",
        "Sat, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Sat, 21 Nov 2026 12:00:00 -0000",
        "Sat, 21 Nov 2026 12:00:00 +99999999999999",
        "Sat, 21 Nov 99999 12:00:00 GMT",
        "21 Nov",
        ",",
    ]
)
WORDS = st.text(max_size=20) | DIGITS | DATES | st.sampled_from(["x" * 2_000, "\udcff\udc80", "Unregistered"])
NUMBERS = (
    st.integers()
    | st.sampled_from([10**400, 1_800_000_000_000_000_000, -(10**30), 2**53, 21_610])
    | st.floats()
)
KEYS = st.sampled_from(
    [
        *("reason", "timestamp", "error", "details", "errorCode", "status", "message", "name", "code", "sid"),
        *("messages", "date_created", "body", "errors", "field"),
    ]
)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS | st.just("personalizations.1.to") | st.just("text")
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
BODIES = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(
        [
            b"[" * 60_000,
            b"[" * 900 + b"]" * 900,
            b'{"a":' * 60_000,
            b'{"reason":%s}' % (b"[" * 800 + b"]" * 800),
        ]
    )
    | st.just(b'{"errors":[{"field":"personalizations.%s.to","message":5}]}' % (b"9" * 5_000))
    | st.just(b'{"reason":"Unregistered","timestamp":%s}' % (b"9" * 5_000))
)
CODES = st.sampled_from(["http2", "tls", "connect", "deadline", "private-address", "refused", "goaway"])
"""Of the transport: words of ours."""
NAMES = st.sampled_from(["retry-after", "x-ratelimit-reset", "ttl", "location", "x-message-id"])
STATUSES = st.sampled_from(
    [200, 201, 202, 302, 400, 401, 403, 404, 405, 410, 413, 429, 500, 502, 503, 504]
) | st.integers(-1, 1_000)
ANSWERS = st.builds(Answer, STATUSES, BODIES, st.dictionaries(NAMES, WORDS, max_size=4), st.booleans())
RESULTS: st.SearchStrategy[Result] = (
    ANSWERS | st.builds(NotSent, CODES, WORDS) | st.builds(NoAnswer, CODES, WORDS)
)


@pytest.mark.parametrize("judge", JUDGES)
@given(result=RESULTS)
@example(result=Answer(410, b'{"reason":"Unregistered","timestamp":1800000000000000000}'))
@example(result=Answer(400, b'{"error":{"details":5}}'))
@example(result=Answer(400, b"[" * 60_000))
@example(result=Answer(429, headers={"retry-after": "²", "x-ratelimit-reset": "²"}))
@example(result=Answer(503, headers={"retry-after": "9" * 5_000}))
@example(result=Answer(429, headers={"x-ratelimit-reset": "9" * 5_000}))
@example(result=Answer(201, headers={"ttl": "²"}))
@example(result=Answer(201, headers={"ttl": "9" * 5_000, "location": "\udcff"}))
@example(result=Answer(200, b'{"messages":[{"date_created":"Sat, 21 Nov 2026 12:00:00 -0000"}]}'))
def test_any_answer_has_a_verdict(judge: str, result: Result) -> None:
    """Any status, any headers, any bytes: an outcome, or the channel halts; and it can be written down."""
    for verdict in JUDGES[judge](result):
        assert verdict is None or isinstance(verdict, Outcome | Halt)
        assert len(msgspec.json.encode(verdict)) < 4_000
        if verdict is not None:
            assert [isinstance(each, Outcome) for each in outcomes_of(verdict)] == [True]


def outcomes_of(verdict: Verdict) -> Sequence[Outcome]:
    try:
        return conclude([verdict])
    except ChannelHalted as halted:
        return halted.outcomes


@given(stage=st.sampled_from(get_args(smtp.Stage)), code=st.integers(), message=WORDS)
def test_any_reply_of_a_mail_server_has_a_verdict(stage: smtp.Stage, code: int, message: str) -> None:
    """Bytes that are no text included."""
    assert msgspec.json.encode(smtp.judge(stage, code, message))


@pytest.mark.parametrize(
    ("words", "is_ours"),
    [
        ("5.7.1 <ann@example.org>: Relay access denied", True),
        ("relay not permitted", True),
        ("5.7.1 ann@example.org... Relaying denied", True),
        ("5.7.54 SMTP; Unable to relay recipient in non-accepted domain", True),
        ("5.1.1 <us@example.org>: Sender address rejected: User unknown", True),
        ("5.1.8 Bad sender's system address", True),
        ("5.1.1 <relay@example.org>: No such user", False),
        ("relay: no such user at relay.example.org", False),
        ("5.1.10 RESOLVER.ADR.RecipientNotFound", False),
        ("5.1.80 ?", False),
    ],
)
def test_what_a_mail_server_has_against_us(words: str, is_ours: bool) -> None:
    """Told by its own phrases; no mailbox's name passes for one."""
    assert isinstance(smtp.judge("rcpt", 550, words), Halt) is is_ours


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"name":"projects/p/messages/1"}', "projects/p/messages/1"),
        (b'{"name":"projects/p/messages/1","more":{"of":[1]}}', "projects/p/messages/1"),
        (b'{"name":7}', "7"),
        (b'{"message":"1"}', ""),
        (b'["name"]', ""),
        (b'{"name":"\xff"}', ""),
        (b"", ""),
    ],
)
def test_what_fcm_took_is_accepted_however_it_says_so(body: bytes, name: str) -> None:
    """A 200 is Accepted, with FCM's name for the message where it gives one."""
    assert fcm.judge(Answer(200, body), NOTICE, NOW) == Accepted(name)


@given(text=WORDS | st.text(max_size=200))
def test_any_date_is_survived(text: str) -> None:
    """One with a zone, or None; a wait is never negative and never longer than a day."""
    date = mail_date(text)
    assert date is None or date.tzinfo is not None
    wait_s = retry_after_s({"retry-after": text}, NOW)
    assert wait_s is None or 0 <= wait_s <= 86_400


def test_a_date_without_a_zone_is_utc() -> None:
    """-0000 names none."""
    assert mail_date("Sat, 21 Nov 2026 12:00:00 -0000") == NOW
    assert retry_after_s({"retry-after": "Sat, 21 Nov 2026 12:01:00 -0000"}, NOW) == 60


def test_words_are_kept_short_and_whole() -> None:
    """What could not be written down is a question mark."""
    assert clipped("a\udcffb") == "a?b"
    assert len(clipped("ü" * 1_000)) == 300


@pytest.mark.parametrize(
    ("words", "address", "kept"),
    [
        ("The 'To' number +166321456 is not valid", "", "The 'To' number … is not valid"),
        ("to 1 (555) 000-1111, to +1 (555) 000-1111", "", "to 1 (555) 000-1111, to …"),
        ("To 15550001111", "+15550001111", "To …"),
        ("5.1.1 <Ann.Lee+x@mail.example.org>: unknown", "ann.lee+x@mail.example.org", "5.1.1 <…>: unknown"),
        ("5.1.1 ann: cannot, ann@b.example", "ann@example.org", "5.1.1 …: cannot, …"),
        ("no device fb1c:0a", "fb1c:0a", "no device …"),
        ("Spam, see https://x.example/a-1 2026-11-21T10:00:00+0000", "a@b.example", None),
        (f"{'x ' * 147}<ann@exampl" + "e.org>", "", f"{'x ' * 147}…"),
        (f"{'x ' * 145}'ann.lee" + "@example.org'", "", f"{'x ' * 145}…"),
    ],
)
def test_words_that_are_kept_name_nobody(words: str, address: str, kept: str | None) -> None:
    """Outcomes are kept for ever, and no key seals them: not the address, nor anybody else's, whole or cut off."""
    one = target(address or "+15559999999")
    outcomes = conclude([Gone("1", detail=clipped(words)), Accepted("2")], targets=[one, one])
    assert outcomes == [Gone("1", detail=words if kept is None else kept), Accepted("2")]
    with pytest.raises(ChannelHalted) as halted:
        conclude([Halt("1", clipped(words))], targets=[one])
    assert halted.value.detail == (words if kept is None else kept)


def test_a_result_that_cannot_be_judged_is_unknown_alone() -> None:
    """The others of its slice have their verdicts, and the log says once what happened."""

    def judge(place: int, result: Result) -> Verdict:
        if place in {1, 2}:
            raise KeyError(place)
        return Accepted(str(place))

    with capture_logs() as logs:
        verdicts = judge_each("apns", [Answer(200)] * 4, judge)
    assert verdicts == [
        Accepted("0"),
        Unknown(NOT_UNDERSTOOD, "KeyError"),
        Unknown(NOT_UNDERSTOOD, "KeyError"),
        Accepted("3"),
    ]
    assert [(each["event"], each["channel"], each["answers"]) for each in logs] == [
        ("answers_not_understood", "apns", 2)
    ]


class Saying:
    """A transport to a provider that gives these answers."""

    def __init__(self, *answers: Result) -> None:
        self._answers = answers

    async def post_many(
        self, requests: Sequence[Request], *, headers: Sequence[Header] = (), deadline_s: float
    ) -> list[Result]:
        return list(self._answers)

    def set_header(self, name: bytes, value: bytes) -> None: ...

    async def aclose(self) -> None: ...


async def test_one_garbage_answer_is_one_devices_alone() -> None:
    """Its neighbours were accepted and are not sent to again."""
    token = ProviderToken(make_key(), "KEY", "TEAM")
    config = ApnsConfig(key_pem="", key_id="KEY", team_id="TEAM", topic="org.example.app")
    garbage = Answer(410, b'{"reason":"Unregistered","timestamp":1800000000000000000}')
    gateway = ApnsGateway(config, Saying(Answer(200), garbage, Answer(200)), token)
    outcomes = await gateway.send(NOTICE, [target(f"{n:064x}") for n in range(3)], deadline_s=1.0)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Gone, Accepted]
    assert outcomes[1] == Gone("Unregistered", confirm=True)
