from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from infra.sandbox import Hang, Sandbox

CELL = "+15551234567"


class Account:
    """A client of Twilio's REST API."""

    def __init__(self, sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
        kept = sandbox.credentials
        self.sid, self.sender = kept.twilio_account_sid, kept.twilio_sender
        self.url = f"{sandbox.urls.twilio}/2010-04-01/Accounts/{self.sid}/Messages"
        self.headers = self.basic(self.sid, kept.twilio_auth_token)
        self._web = web

    @staticmethod
    def basic(user: str, password: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    async def send(self, **changed: str) -> tuple[int, dict[str, Any]]:
        form = {"To": CELL, "From": self.sender, "Body": "It rains", **changed}
        form = {name: value for name, value in form.items() if value}
        async with self._web.post(f"{self.url}.json", data=form, headers=self.headers) as answer:
            return answer.status, await answer.json()

    async def list(self, **query: str) -> list[dict[str, Any]]:
        async with self._web.get(f"{self.url}.json", params=query, headers=self.headers) as answer:
            assert answer.status == 200
            found: list[dict[str, Any]] = (await answer.json())["messages"]
            return found

    async def get(self, sid: str) -> tuple[int, dict[str, Any]]:
        async with self._web.get(f"{self.url}/{sid}.json", headers=self.headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
def account(sandbox: Sandbox, web: aiohttp.ClientSession) -> Account:
    return Account(sandbox, web)


async def test_a_message_is_accepted_and_booked(sandbox: Sandbox, account: Account) -> None:
    """A good message gets 201 with Twilio's resource, and its id from the callback's query."""
    status, made = await account.send(StatusCallback="http://127.0.0.1:9/cb?realm=main&message_id=m-1")
    assert (status, made["status"], made["to"], made["body"]) == (201, "queued", CELL, "It rains")
    assert (made["from"], made["account_sid"], made["error_code"]) == (account.sender, account.sid, None)
    assert made["sid"].startswith("SM")
    assert len(made["sid"]) == 34
    (item,), _ = await sandbox.books.messages(channel="sms")
    assert (item.address, item.body, item.message_id) == (CELL, "It rains", "m-1")
    assert (item.provider_id, item.provider, item.status) == (made["sid"], "twilio", 201)


async def test_wrong_credentials(account: Account, sandbox: Sandbox) -> None:
    """No or wrong credentials, or another account's path, get 401 and code 20003, also for a look-up."""
    for headers in (
        {},
        account.basic(account.sid, "wrong"),
        account.basic("ACx", "y"),
        {"authorization": "Basic !"},
    ):
        account.headers = headers
        status, error = await account.send()
        assert (status, error["code"], error["status"]) == (401, 20003, 401)
        assert (await account.get("SMx"))[0] == 401
    account.headers = account.basic(account.sid, sandbox.credentials.twilio_auth_token)
    account.url = account.url.replace(account.sid, "AC" + "0" * 32)
    assert (await account.send())[0] == 401


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"To": ""}, 21604),
        ({"To": "5551234"}, 21211),
        ({"To": "+0123456789"}, 21211),
        ({"From": ""}, 21603),
        ({"From": "not a sender!"}, 21606),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1_601}, 21617),
        ({"StatusCallback": "nowhere"}, 21609),
    ],
)
async def test_a_wrong_form_gets_twilios_code(
    sandbox: Sandbox, account: Account, changed: dict[str, str], code: int
) -> None:
    """Each fault of a form has Twilio's own code and is told where to read more."""
    status, error = await account.send(**changed)
    assert (status, error["code"]) == (400, code)
    assert error["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert (await sandbox.books.messages())[1] == 0


async def test_a_messaging_service_may_send(account: Account) -> None:
    """A messaging service stands in for the sender's number."""
    service = "MG" + "0" * 32
    status, made = await account.send(From="", MessagingServiceSid=service)
    assert (status, made["messaging_service_sid"], made["from"]) == (201, service, None)


async def test_a_sent_message_can_be_looked_up(account: Account) -> None:
    """Messages are found by number and day, newest first, and one by its sid."""
    sids = [(await account.send(Body=f"text {n}"))[1]["sid"] for n in range(3)]
    await account.send(To="+15557654321")
    found = await account.list(To=CELL)
    assert [one["sid"] for one in found] == sids[::-1]
    assert {one["status"] for one in found} == {"sent"}
    assert [one["body"] for one in await account.list(To=CELL, PageSize="1", Page="1")] == ["text 1"]
    status, one = await account.get(sids[0])
    assert (status, one["body"]) == (200, "text 0")
    assert (await account.get("SM" + "0" * 32))[0] == 404


async def test_messages_are_found_by_day(account: Account, sandbox: Sandbox) -> None:
    """DateSent is a day; DateSent> and DateSent< bound a span."""
    await account.send()
    (item,), _ = await sandbox.books.messages()
    day = datetime.fromtimestamp(item.received_at, UTC)
    today, yesterday = (f"{moment:%Y-%m-%d}" for moment in (day, day - timedelta(days=1)))
    assert len(await account.list(DateSent=today)) == 1
    assert len(await account.list(DateSent=yesterday)) == 0
    assert len(await account.list(**{"DateSent>": today})) == 1
    assert len(await account.list(**{"DateSent<": yesterday})) == 0


async def test_a_lost_answer_is_found_later(
    sandbox: Sandbox, account: Account, web: aiohttp.ClientSession
) -> None:
    """When only the answer was lost, the message is in the list; when it was not taken, it is not."""
    sandbox.rules.add("sms", Hang(processed=True), exact=CELL)
    sandbox.rules.add("sms", Hang(), exact="+15557654321")
    for cell in (CELL, "+15557654321"):
        form = {"To": cell, "From": account.sender, "Body": "x"}
        brief = aiohttp.ClientTimeout(0.3)
        with pytest.raises(TimeoutError):
            await web.post(f"{account.url}.json", data=form, headers=account.headers, timeout=brief)
    assert len(await account.list(To=CELL)) == 1
    assert len(await account.list(To="+15557654321")) == 0


async def test_who_said_stop_gets_nothing(sandbox: Sandbox, account: Account) -> None:
    """After STOP a number is refused with 21610, until START."""
    await sandbox.opt_out(CELL)
    status, error = await account.send()
    assert (status, error["code"]) == (400, 21610)
    await sandbox.opt_out(CELL, out=False)
    assert (await account.send())[0] == 201
