from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from infra.sandbox import Respond, Sandbox

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Clock


def mail(*addresses: str, **changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "personalizations": [{"to": [{"email": address}]} for address in addresses or ("a@example.org",)],
        "from": {"email": "news@example.org", "name": "News"},
        "subject": "Weather",
        "content": [
            {"type": "text/plain", "value": "It rains"},
            {"type": "text/html", "value": "<p>It rains"},
        ],
        "custom_args": {"message_id": "m-1", "realm": "main"},
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


class Sender:
    def __init__(self, sandbox: Sandbox, web: aiohttp.ClientSession) -> None:
        self.url = f"{sandbox.urls.sendgrid}/v3/mail/send"
        self.headers = {"authorization": f"Bearer {sandbox.credentials.sendgrid_api_key}"}
        self._web = web

    async def send(self, body: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        """Status, the error's field or message (or the message's id), headers."""
        async with self._web.post(self.url, json=body, headers=self.headers) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            if answer.status == 202:
                assert await answer.read() == b""
                return 202, headers["x-message-id"], headers
            (error,) = (await answer.json())["errors"]
            return answer.status, error["field"] or error["message"], headers


@pytest.fixture
def sendgrid(sandbox: Sandbox, web: aiohttp.ClientSession) -> Sender:
    return Sender(sandbox, web)


async def test_a_mail_is_accepted_and_booked(sandbox: Sandbox, sendgrid: Sender) -> None:
    """One request may write to many: each recipient has its own entry, with its own arguments."""
    body = mail("a@example.org", "b@example.org")
    body["personalizations"][1] |= {"custom_args": {"message_id": "m-2"}, "subject": "Wetter"}
    status, number, _ = await sendgrid.send(body)
    assert status == 202
    items, total = await sandbox.books.messages(channel="email")
    assert total == 2
    assert [(item.address, item.title, item.body, item.message_id) for item in items] == [
        ("a@example.org", "Weather", "It rains", "m-1"),
        ("b@example.org", "Wetter", "It rains", "m-2"),
    ]
    assert {item.provider_id for item in items} == {f"{number}.0", f"{number}.1"}


async def test_html_alone_is_read_as_text(sandbox: Sandbox, sendgrid: Sender) -> None:
    """A mail without a plain part shows its text without markup."""
    html = "<html><head><style>p{}</style></head><body><p>It&nbsp;rains &amp; pours</p></body></html>"
    await sendgrid.send(mail(content=[{"type": "text/html", "value": html}]))
    (item,), _ = await sandbox.books.messages()
    assert item.body == "It\xa0rains & pours"


async def test_wrong_credentials(sendgrid: Sender) -> None:
    """A wrong key gets 401 in SendGrid's words."""
    for key in ("", "Bearer SG.wrong.key", "Basic abc"):
        sendgrid.headers = {"authorization": key}
        status, words, _ = await sendgrid.send(mail())
        assert (status, words) == (401, "The provided authorization grant is invalid, expired, or revoked")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        ({"from": None}, "from.email"),
        ({"subject": None}, "subject"),
        ({"subject": "a\r\nBcc: x@example.org"}, "subject"),
        ({"content": None}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content"),
        ({"headers": {"X-A": "b\nc"}}, "headers.X-A"),
        ({"headers": {"Subject": "x"}}, "headers.Subject"),
        ({"custom_args": {"n": 1}}, "custom_args"),
    ],
)
async def test_a_wrong_mail_names_its_field(
    sandbox: Sandbox, sendgrid: Sender, changed: dict[str, Any], field: str
) -> None:
    """A body SendGrid would not take gets 400 naming the field, and nobody gets it."""
    status, named, _ = await sendgrid.send(mail(**changed))
    assert (status, named) == (400, field)
    assert (await sandbox.books.messages())[1] == 0


async def test_at_most_a_thousand_and_none_twice(sandbox: Sandbox, sendgrid: Sender) -> None:
    """A thousand personalizations pass, one more does not; an address appears once, whatever its case."""
    many = [f"user{n}@example.org" for n in range(1_001)]
    assert (await sendgrid.send(mail(*many)))[0] == 400
    assert (await sendgrid.send(mail(*many[:1_000])))[0] == 202
    assert (await sandbox.books.messages())[1] == 1_000
    assert (await sendgrid.send(mail("a@example.org", "A@example.org")))[0] == 400
    twice = [{"to": [{"email": "a@example.org"}], "cc": [{"email": "a@example.org"}]}]
    assert (await sendgrid.send(mail(personalizations=twice)))[0] == 400


async def test_a_rate_limit_says_when_to_come_back(sandbox: Sandbox, sendgrid: Sender, clock: Clock) -> None:
    """429 brings X-RateLimit-Reset, in seconds since 1970."""
    sandbox.rules.add("email", Respond(429))
    status, words, headers = await sendgrid.send(mail())
    assert (status, words) == (429, "too many requests")
    assert int(headers["x-ratelimit-reset"]) == int(clock.now) + 1
    assert headers["x-ratelimit-remaining"] == "0"


async def test_sandbox_mode_delivers_nothing(
    sandbox: Sandbox, sendgrid: Sender, web: aiohttp.ClientSession
) -> None:
    """SendGrid's own sandbox mode checks a mail with 200 and sends nothing."""
    body = mail(mail_settings={"sandbox_mode": {"enable": True}})
    async with web.post(sendgrid.url, json=body, headers=sendgrid.headers) as answer:
        assert answer.status == 200
    assert (await sandbox.books.messages())[1] == 0
