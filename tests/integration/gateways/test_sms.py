"""Every Twilio answer has its outcome, and a repeat rings nobody's phone twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import uuid4

import pytest
from msgspec.structs import replace
from twilio.rest import Client

from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry, Suppressed, Unknown
from domain.errors import Invalid, TooLarge
from domain.message import Content
from gateways.port import ChannelHalted, Gateway, Target
from infra.sandbox import Hang, Respond
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import Providers, Send


async def test_accepted(providers: Providers, send: Send) -> None:
    """201 is Accepted, with Twilio's sid."""
    message, [phone] = uuid4(), await providers.targets("sms")
    [outcome] = await send("sms", [phone], message=message)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_id.startswith("SM")
    assert await providers.arrived(message) == 1


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Respond(400, "21610"), Suppressed("21610", "Attempt to send to unsubscribed recipient")),
        (Respond(400, "21211"), Gone("21211", detail="The 'To' number … is not a valid phone number.")),
        (Respond(400, "21614"), Gone("21614", detail="'To' number: …, is not a valid mobile number")),
        (Respond(429, "20429"), Retry("20429", None, "Too Many Requests")),
        (Respond(400, "20429"), Retry("20429", None, "Too Many Requests")),
        (Respond(429, body="{}"), Retry("429")),
        (Respond(503, body="busy"), Retry("503")),
        (Respond(500, "20500"), Unknown("20500", "Internal Server Error")),
        (Respond(502, body="<html>"), Unknown("502")),
        (Respond(522, body="<html>"), Unknown("522")),
        (Respond(408, body=""), Retry("408")),
        (
            Respond(400, "21617"),
            Rejected("21617", detail="The concatenated message body exceeds the 1600 character limit"),
        ),
        (
            Respond(400, "21612"),
            Rejected(
                "21612",
                quarantine=True,
                detail="Message cannot be sent with the current combination of 'To' (…) and/or 'From' parameters",
            ),
        ),
        (Respond(400, body="<html>"), Rejected("400")),
        (Respond(302, body="", headers={"location": "https://127.0.0.1:1/"}), Rejected("302")),
    ],
)
async def test_refusals(action: Respond, expected: Outcome, providers: Providers, send: Send) -> None:
    """One number's refusal is that number's."""
    phones = await providers.targets("sms", 3)
    providers.tell("sms", action, phones[1])
    outcomes = await send("sms", phones)
    assert outcomes[1] == expected
    assert [type(outcomes[n]) for n in (0, 2)] == [Accepted, Accepted]


async def test_a_retry_after(providers: Providers, send: Send) -> None:
    """Twilio's own wish, a little spread."""
    [phone] = await providers.targets("sms")
    providers.tell("sms", Respond(429, "20429", headers={"retry-after": "10"}), phone)
    [outcome] = await send("sms", [phone])
    assert isinstance(outcome, Retry)
    assert outcome.after_s is not None
    assert 10 <= outcome.after_s <= 12


async def test_a_number_that_is_none(providers: Providers, send: Send) -> None:
    """As Twilio itself finds it."""
    [outcome] = await send("sms", [target("not a number")])
    assert outcome == Gone("21211", detail="The 'To' number … is not a valid phone number.")


async def test_a_person_who_said_stop(providers: Providers, send: Send) -> None:
    """Suppressed until START."""
    [phone] = await providers.targets("sms")
    await providers.sandbox.twilio.opt_out(phone.address, out=True)
    assert [type(outcome) for outcome in await send("sms", [phone])] == [Suppressed]
    await providers.sandbox.twilio.opt_out(phone.address, out=False)
    assert [type(outcome) for outcome in await send("sms", [phone])] == [Accepted]


@pytest.mark.parametrize(("status", "code"), [(401, "20003"), (403, "20003"), (404, "20404"), (400, "21603")])
async def test_refused_credentials_halt_the_channel(
    status: int, code: str, providers: Providers, send: Send
) -> None:
    """Account or sender: no number is to blame."""
    phones = await providers.targets("sms", 3)
    providers.tell("sms", Respond(status, code), phones[1])
    with pytest.raises(ChannelHalted, match=code) as halted:
        await send("sms", phones)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Accepted, Retry, Accepted]


@pytest.mark.parametrize("code", ["21606", "21659", "21660"])
async def test_a_sender_refused_for_one_number_stops_nobody_else(code: str, providers: Providers) -> None:
    """Halts the channel when nothing gets through; a number among others that do waits for its own next try."""
    gateway = providers.gateway("sms")
    phones = await providers.targets("sms", 3)
    providers.tell("sms", Respond(400, code), phones[1], count=2)
    with pytest.raises(ChannelHalted, match=code):
        await gateway.send(notice(), phones[1:2], deadline_s=5.0)
    outcomes = await gateway.send(notice(), phones, deadline_s=5.0)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Retry, Accepted]
    await gateway.aclose()


async def test_a_wrong_password_halts_the_channel(providers: Providers) -> None:
    """As Twilio itself finds it."""
    gateway = providers.gateway("sms", auth_token="wrong")
    with pytest.raises(ChannelHalted, match="20003"):
        await gateway.send(notice(), await providers.targets("sms"), deadline_s=5.0)
    await gateway.aclose()


@pytest.fixture
def gateway(gateways: dict[str, Gateway]) -> Gateway:
    return gateways["sms"]


async def test_a_repeat_after_a_lost_answer(providers: Providers, gateway: Gateway) -> None:
    """The answer was lost, the message was not: the repeat finds it at Twilio and sends nothing."""
    message, phones = notice("found?", ttl_s=3_600), await providers.targets("sms", 2)
    providers.tell("sms", Hang(processed=True), phones[0])
    providers.tell("sms", Hang(processed=False), phones[1])
    outcomes = await gateway.send(message, phones, deadline_s=0.5)
    assert [type(outcome) for outcome in outcomes] == [Unknown, Unknown]
    assert await providers.arrived(message.message) == 1
    outcomes = await gateway.send(message, repeated(*phones), deadline_s=5.0)
    found, sent = outcomes
    assert isinstance(found, Accepted)
    assert found.detail == "found at Twilio"
    assert found.provider_id.startswith("SM")
    assert isinstance(sent, Accepted)
    assert sent.detail == ""
    assert await providers.arrived(message.message) == 2


def repeated(*phones: Target, since: datetime | None = None) -> list[Target]:
    since = since or datetime.now(UTC) - timedelta(minutes=1)
    return [replace(phone, repeats_since=since) for phone in phones]


async def test_an_older_message_with_the_same_words_is_another(
    providers: Providers, gateway: Gateway
) -> None:
    """Only what Twilio got since the first try counts."""
    [phone] = await providers.targets("sms")
    await gateway.send(notice("daily news"), [phone], deadline_s=5.0)
    message = notice("daily news")
    later = repeated(phone, since=datetime.now(UTC) + timedelta(minutes=10))
    [outcome] = await gateway.send(message, later, deadline_s=5.0)
    assert isinstance(outcome, Accepted)
    assert await providers.arrived(message.message) == 1


async def test_what_was_refused_is_not_looked_for(providers: Providers, gateway: Gateway) -> None:
    """The same words a moment ago were another message: only a target whose answer was lost is asked about."""
    known, lost = await providers.targets("sms", 2)
    await gateway.send(notice("same words"), [known], deadline_s=5.0)
    message = notice("same words")
    providers.tell("sms", Hang(processed=True), lost)
    await gateway.send(message, [lost], deadline_s=0.5)
    outcomes = await gateway.send(message, [known, *repeated(lost)], deadline_s=5.0)
    details = [outcome.detail for outcome in outcomes if isinstance(outcome, Accepted)]
    assert details == ["", "found at Twilio"]
    assert await providers.arrived(message.message) == 2


async def test_another_message_with_the_same_words_is_not_found_for_it(
    providers: Providers, gateway: Gateway
) -> None:
    """One that came of another send is passed over, and so is one from before the first try, by seconds."""
    [phone] = await providers.targets("sms")
    other, message = notice("Your parcel is there"), notice("Your parcel is there")
    providers.tell("sms", Hang(processed=False), phone)
    await gateway.send(message, [phone], deadline_s=0.5)
    await gateway.send(other, [phone], deadline_s=5.0)
    [outcome] = await gateway.send(message, repeated(phone), deadline_s=5.0)
    assert isinstance(outcome, Accepted)
    assert outcome.detail == ""
    assert await providers.arrived(message.message) == 1
    elsewhere, third = providers.gateway("sms"), notice("Your parcel is there")
    later = repeated(phone, since=datetime.now(UTC) + timedelta(seconds=20))
    await elsewhere.send(third, later, deadline_s=5.0)
    assert await providers.arrived(third.message) == 1
    await elsewhere.aclose()


async def test_two_lost_answers_are_two_messages(providers: Providers, gateway: Gateway) -> None:
    """People who share a phone: the one that arrived is found for one of them, and the other's is sent."""
    [phone] = await providers.targets("sms")
    shared = [phone, target(phone.address)]
    message = notice("both of you")
    providers.tell("sms", Hang(processed=True), phone, count=1)
    await gateway.send(message, shared[:1], deadline_s=0.5)
    outcomes = await gateway.send(message, repeated(*shared), deadline_s=5.0)
    details = [outcome.detail for outcome in outcomes if isinstance(outcome, Accepted)]
    assert details == ["found at Twilio", ""]
    assert await providers.arrived(message.message) == 2


async def test_a_repeat_when_twilio_cannot_be_asked(providers: Providers) -> None:
    """Nothing is sent on a guess."""
    listener = providers.gateway(
        "sms", url=providers.sandbox.urls.sendgrid
    )  # answers 404 to what Twilio would know
    message = notice()
    with pytest.raises(ChannelHalted):
        await listener.send(message, repeated(*await providers.targets("sms")), deadline_s=5.0)
    await listener.aclose()
    nobody = providers.gateway("sms", url="https://127.0.0.1:1")
    [outcome] = await nobody.send(message, repeated(*await providers.targets("sms")), deadline_s=5.0)
    assert outcome == Unknown("asked: connect")
    assert await providers.arrived(message.message) == 0
    await nobody.aclose()


async def test_what_a_request_says(providers: Providers, send: Send) -> None:
    """Sender, text, how long it may wait, and where to report, with whose message it is about."""
    message, [phone] = uuid4(), await providers.targets("sms")
    await send("sms", [phone], "Grüße 👋 & = +", message=message, ttl_s=600)
    form = dict(parse_qsl((await providers.last_request(phone))["payload"].decode()))
    assert form["To"] == phone.address
    assert form["From"] == providers.sandbox.credentials.twilio_sender
    assert form["Body"] == "Grüße 👋 & = +"
    assert 595 <= int(form["ValidityPeriod"]) <= 600
    callback = urlsplit(form["StatusCallback"])
    assert callback._replace(query="").geturl() == "https://exchange.example/twilio"
    assert phone.contact is not None
    wanted = {"realm": ["main"], "message_id": [message.hex], "contact": [phone.contact.hex]}
    assert parse_qs(callback.query) == wanted


async def test_a_messaging_service_as_the_sender(providers: Providers) -> None:
    """MG... goes into its own field; without a public URL nothing is reported; long lives are Twilio's default."""
    service = "MG" + "0" * 32
    gateway = providers.gateway("sms", sender=service, status_callback_url=None)
    [phone] = await providers.targets("sms")
    await gateway.send(notice(ttl_s=86_400), [phone], deadline_s=5.0)
    form = dict(parse_qsl((await providers.last_request(phone))["payload"].decode()))
    assert form == {"To": phone.address, "MessagingServiceSid": service, "Body": "20% off today only"}
    await gateway.aclose()


async def test_twilios_own_library_reads_what_was_sent(providers: Providers, send: Send) -> None:
    """Names of paths and fields are those the library uses."""
    client = Client("AC" + "0" * 32, "x")
    assert client.api.v2010.account.messages._uri == f"/Accounts/AC{'0' * 32}/Messages.json"
    [phone] = await providers.targets("sms")
    await send("sms", [phone])
    request = await providers.last_request(phone)
    assert request["target"].startswith("/2010-04-01/Accounts/AC")
    assert request["target"].endswith("/Messages.json")
    assert request["headers"]["content-type"] == "application/x-www-form-urlencoded"


def test_what_an_sms_cannot_carry(gateway: Gateway) -> None:
    """Refused before the message is accepted."""
    gateway.check(Content("x" * 1_600))
    with pytest.raises(TooLarge):
        gateway.check(Content("x" * 1_601))
    with pytest.raises(Invalid):
        gateway.check(Content(" "))


async def test_a_slice_with_a_few_in_flight(providers: Providers, send: Send) -> None:
    """A hundred numbers, each its own outcome, in order."""
    phones = await providers.targets("sms", 100)
    providers.tell("sms", Respond(400, "21610"), *phones[::10])
    outcomes = await send("sms", phones, deadline_s=20.0)
    wanted = [Suppressed if n % 10 == 0 else Accepted for n in range(100)]
    assert [type(outcome) for outcome in outcomes] == wanted
