"""An earlier message is looked for from when it can have been sent, whatever Twilio's clock says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from msgspec.structs import replace

from domain.deliveries.outcome import FOUND, Accepted
from gateways.sms import SmsGateway, TwilioConfig
from gateways.transport import Answer, Header, Request, Result
from tests.fixtures.notices import notice, target

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=10)
CONFIG = TwilioConfig(account_sid="AC1", auth_token="t", sender="+15005550006")


class Twilio:
    """Has one message, and a clock of its own. date: of its answers."""

    def __init__(self, created: datetime, date: str) -> None:
        self._created, self._date = format_datetime(created), date

    async def get_many(self, paths: Sequence[bytes], *, deadline_s: float) -> list[Result]:
        message = {"body": "Hello", "sid": "SM1", "date_created": self._created}
        body = json.dumps({"messages": [message]}).encode()
        return [Answer(200, body, {"date": self._date})] * len(paths)

    async def post_many(
        self, requests: Sequence[Request], *, headers: Sequence[Header] = (), deadline_s: float
    ) -> list[Result]:
        return [Answer(201, b'{"sid":"SM2"}')] * len(requests)

    def set_header(self, name: bytes, value: bytes) -> None: ...

    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    ("ahead_s", "created_s", "found"),
    [
        (0, 1, True),
        (0, -4, True),
        (0, -6, False),
        (0, -90, False),
        (3_600, 3_601, True),
        (3_600, 3_590, False),
        (-3_600, -3_599, True),
        (-3_600, -3_610, False),
    ],
)
async def test_what_was_sent_before_the_first_try_is_another_message(
    ahead_s: int, created_s: int, found: bool
) -> None:
    """By seconds: the date of Twilio's answer tells how its clock differs from ours."""
    date = format_datetime(NOW + timedelta(seconds=ahead_s), usegmt=True)
    assert await is_found(created_s, date) is found


@pytest.mark.parametrize(
    "date", ["", "soon", "Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 0001 00:00:00 GMT"]
)
async def test_without_a_date_clocks_may_differ(date: str) -> None:
    """Two minutes, and no fault."""
    assert await is_found(-110, date)
    assert not await is_found(-130, date)


async def is_found(created_s: int, date: str) -> bool:
    gateway = SmsGateway(CONFIG, Twilio(SINCE + timedelta(seconds=created_s), date), clock=lambda: NOW)
    phone = replace(target("+15550001111"), repeats_since=SINCE)
    [outcome] = await gateway.send(notice("Hello"), [phone], deadline_s=1.0)
    assert isinstance(outcome, Accepted)
    return outcome.detail == FOUND
