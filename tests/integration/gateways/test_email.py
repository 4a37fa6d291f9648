"""What SendGrid and a mail server promise alike; every answer of SendGrid has its outcome; no header is slipped in."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email import message_from_bytes
from uuid import uuid4

import pytest
from sendgrid.helpers.mail import CustomArg, Header, Mail, Personalization, To

from domain.deliveries.outcome import Accepted, Outcome, Rejected, Retry, Unknown
from domain.errors import Invalid, TooLarge
from domain.message import Content
from domain.people.leaving import Leaver, leaving_token
from gateways.mail.sendgrid import without_repeats
from gateways.mail.smtp import render
from gateways.port import ChannelHalted, Target
from infra.sandbox import Respond
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import LEAVING_KEY, Providers, Send


@pytest.mark.parametrize("provider", ["sendgrid", "smtp"])
async def test_accepted(provider: str, providers: Providers, send: Send) -> None:
    """Taken, with the provider's name for it; everyone gets a mail of their own."""
    message, people = uuid4(), await providers.targets(provider, 3)
    outcomes = await send(provider, people, "Hallo Wörld", "Títle", message=message)
    assert all(isinstance(outcome, Accepted) and outcome.provider_id for outcome in outcomes)
    items, total = await providers.books.messages(message_id=message.hex)
    assert total == 3
    assert {(item.title, item.body) for item in items} == {("Títle", "Hallo Wörld")}
    assert {item.address for item in items} == {person.address for person in people}


@pytest.mark.parametrize("provider", ["sendgrid", "smtp"])
async def test_a_message_without_a_subject(provider: str, providers: Providers, send: Send) -> None:
    """Gets the exchange's own of old."""
    [person] = await providers.targets(provider)
    for tid, subject in (("offers", "New message in thread offers"), (None, "New message")):
        message = uuid4()
        await send(provider, [person], "text", "", message=message, tid=tid)
        [item], _ = await providers.books.messages(message_id=message.hex)
        assert item.title == subject


@pytest.mark.parametrize("provider", ["sendgrid", "smtp"])
async def test_no_header_is_slipped_in(provider: str, providers: Providers, send: Send) -> None:
    """Line breaks and NUL end no header: refused before accepting, harmless when they come all the same."""
    gateway = providers.gateway(provider)
    for evil in ("a\r\nBcc: x@example.org", "a\nb", "a\0b", "a\x1bb"):
        with pytest.raises(Invalid):
            gateway.check(Content("text", evil))
    message, [person] = uuid4(), await providers.targets(provider)
    outcomes = await send(provider, [person], "text", "a\r\nBcc: evil@example.org\0", message=message)
    assert [type(outcome) for outcome in outcomes] == [Accepted]
    [item], total = await providers.books.messages(message_id=message.hex)
    assert (item.title.replace("  ", " "), total) == ("a Bcc: evil@example.org", 1)
    with pytest.raises(TooLarge):
        gateway.check(Content("text", "x" * 1_000))
    await gateway.aclose()


@pytest.mark.parametrize(
    "subject",
    ["=?utf-8?q?x=0d=0aBcc:_evil=40example.org?=", "a\u2028b", "a\x85b", "=?utf-8?b?DQpCY2M6IHg=?="],
)
async def test_no_encoded_word_is_slipped_in(subject: str, providers: Providers, send: Send) -> None:
    """A subject that would become line breaks once it is decoded is sent as the text that it is."""
    message, [person] = uuid4(), await providers.targets("smtp")
    [outcome] = await send("smtp", [person], "text", subject, message=message)
    assert isinstance(outcome, Accepted)
    rendered = render(notice("text", subject), person, ("", "us@example.org"), {}, datetime.now(UTC))
    assert message_from_bytes(rendered)["Bcc"] is None


async def test_an_address_that_smtp_cannot_carry(providers: Providers, send: Send) -> None:
    """Refused without harm to the others; a domain in other letters goes in its ASCII form."""
    [person] = await providers.targets("smtp")
    outcomes = await send("smtp", [target("jörg@example.org"), target("a@bücher.example"), person])
    assert outcomes[0] == Rejected("bad-address", quarantine=True)
    assert [type(outcome) for outcome in outcomes[1:]] == [Accepted, Accepted]


@pytest.mark.parametrize("provider", ["sendgrid", "smtp"])
@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "a@b\r\nRCPT TO:<x@y>",
        "a b@c.org",
        "<a@b.org>",
        "@b.org",
        "a@",
        "=?utf-8?q?a=0d=0ab?=@c.org",
    ],
)
async def test_an_address_that_is_none(address: str, provider: str, providers: Providers, send: Send) -> None:
    """Refused without harm to the others of the slice."""
    [person] = await providers.targets(provider)
    outcomes = await send(provider, [target(address), person])
    assert outcomes[0] == Rejected("bad-address", quarantine=True)
    assert isinstance(outcomes[1], Accepted)


# SendGrid


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Respond(400, "no good"), Rejected("400", detail="no good")),
        (Respond(413, "too large"), Rejected("413", detail="too large")),
        (Respond(500, "oops"), Unknown("500", "oops")),
        (Respond(502, body="<html>"), Unknown("502")),
        (Respond(504, body="<html>"), Unknown("504")),
        (Respond(522, body="<html>"), Unknown("522")),
        (Respond(408, body=""), Retry("408")),
        (Respond(503, body="<html>"), Retry("503")),
        (Respond(302, body="", headers={"location": "https://127.0.0.1:1/"}), Rejected("302")),
    ],
)
async def test_sendgrid_refuses(action: Respond, expected: Outcome, providers: Providers, send: Send) -> None:
    """A request is refused whole; where a proxy lost the answer, it may have been taken whole."""
    people = await providers.targets("sendgrid", 3)
    providers.tell("sendgrid", action, people[1])
    assert await send("sendgrid", people) == [expected] * 3


async def test_sendgrid_is_too_busy(providers: Providers, send: Send) -> None:
    """429: again when the limit is lifted, which SendGrid says as a time."""
    [person] = await providers.targets("sendgrid")
    reset_at = str(int(time.time()) + 40)
    providers.tell("sendgrid", Respond(429, headers={"x-ratelimit-reset": reset_at}), person)
    [outcome] = await send("sendgrid", [person])
    assert isinstance(outcome, Retry)
    assert outcome.after_s is not None
    assert 35 <= outcome.after_s <= 48


async def test_one_bad_address_spoils_only_itself(providers: Providers, send: Send) -> None:
    """SendGrid refuses all for one it dislikes; the others go again without it."""
    people = [*await providers.targets("sendgrid", 2), target("odd@-.-")]
    error = {
        "message": "Does not contain a valid address.",
        "field": "personalizations.2.to.0.email",
        "help": None,
    }
    providers.tell("sendgrid", Respond(400, body=json.dumps({"errors": [error]})), people[2])
    assert await send("sendgrid", people) == [
        Retry("refused-with-others", 0.0),
        Retry("refused-with-others", 0.0),
        Rejected("400", quarantine=True, detail="Does not contain a valid address."),
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_sendgrid_refuses_the_key(status: int, providers: Providers, send: Send) -> None:
    """Halts the channel."""
    people = await providers.targets("sendgrid", 2)
    providers.tell("sendgrid", Respond(status, "no"), people[0])
    with pytest.raises(ChannelHalted, match=str(status)) as halted:
        await send("sendgrid", people)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Retry, Retry]


async def test_a_wrong_key(providers: Providers) -> None:
    """As SendGrid itself finds it."""
    gateway = providers.gateway("sendgrid", api_key="SG.wrong")
    with pytest.raises(ChannelHalted, match="401"):
        await gateway.send(notice(), await providers.targets("sendgrid"), deadline_s=5.0)
    await gateway.aclose()


async def test_an_address_twice(providers: Providers, send: Send) -> None:
    """Two contacts may share a mailbox; SendGrid takes an address once per request, so there are two requests."""
    message, [one, other] = uuid4(), await providers.targets("sendgrid", 2)
    again = Target(one.address.upper().replace("EXAMPLE.ORG", "example.org"), uuid4(), None)
    outcomes = await send("sendgrid", [one, other, again], message=message)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3
    assert await providers.arrived(message) == 3


def test_no_request_is_larger_than_sendgrid_takes() -> None:
    """Up to a thousand people each; nobody is left out, and none stands twice in one."""
    people = [target(f"{n % 2_500}@example.org") for n in range(2_600)]
    groups = without_repeats(people)
    assert [len(group) for group in groups] == [1_000, 1_000, 500, 100]
    assert sorted(index for group in groups for index in group) == list(range(2_600))
    assert all(len({people[index].address for index in group}) == len(group) for group in groups)


async def test_what_a_sendgrid_request_says(providers: Providers, send: Send) -> None:
    """The same as SendGrid's own library would write, ids and one-click leaving with each person."""
    message, people = uuid4(), await providers.targets("sendgrid", 2)
    await send("sendgrid", people, "text", "Sale", message=message)
    sent = json.loads((await providers.last_request(people[0]))["payload"])
    mail = Mail(("news@example.org", "Example"), subject="Sale", plain_text_content="text")
    for person in reversed(people):  # the library puts each before the last
        assert person.contact is not None
        assert person.client is not None
        one = Personalization()
        one.add_to(To(person.address))
        ids = {
            "realm": "main",
            "message_id": message.hex,
            "contact": person.contact.hex,
            "client": person.client.hex,
        }
        for name, value in ids.items():
            one.add_custom_arg(CustomArg(name, value))
        leave = leaving_token(LEAVING_KEY, Leaver("main", message, person.contact))
        one.add_header(Header("List-Unsubscribe", f"<https://exchange.example/leave/{leave}>"))
        one.add_header(Header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        mail.add_personalization(one)
    assert sent == mail.get()


async def test_a_whole_slice_is_one_request(providers: Providers, send: Send) -> None:
    """Five hundred people, one POST."""
    message, people = uuid4(), await providers.targets("sendgrid", 500)
    outcomes = await send("sendgrid", people, message=message, deadline_s=20.0)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 500
    items, total = await providers.books.messages(message_id=message.hex)
    assert total == 500
    assert len({item.request for item in items}) == 1
