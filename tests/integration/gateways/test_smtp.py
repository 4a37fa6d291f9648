"""Every reply of a mail server has its outcome: a mailbox's, ours, or nobody's."""

from __future__ import annotations

import asyncio
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from urllib.parse import quote, urlsplit
from uuid import uuid4, uuid5

import pytest

from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry, Unknown
from domain.people.leaving import Leaver, read_leaving_token
from gateways.email import EmailConfig
from gateways.mail.smtp import Server, SmtpConfig
from gateways.port import ChannelHalted
from gateways.registry import build
from infra.sandbox import Hang, Reset, Respond
from infra.sandbox.rules import Stage
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import LEAVING_KEY, Providers, Send


@pytest.mark.parametrize(
    ("stage", "action", "expected"),
    [
        (
            "rcpt",
            Respond(550, "5.1.1 No such user"),
            Gone("550", confirm=True, detail="5.1.1 <…>: No such user"),
        ),
        ("rcpt", Respond(550, "5.7.1 Not welcome"), Rejected("550", detail="5.7.1 <…>: Not welcome")),
        ("rcpt", Respond(550, "5.1.0 Hm"), Rejected("550", detail="5.1.0 <…>: Hm")),
        (
            "rcpt",
            Respond(554, "5.7.1 Relay access denied"),
            Retry("554", None, "5.7.1 <…>: Relay access denied"),
        ),
        ("data", Respond(550, "5.1.1 Who?"), Rejected("550", detail="5.1.1 <…>: Who?")),
        ("rcpt", Respond(450, "4.2.1 Greylisted"), Retry("450", None, "4.2.1 <…>: Greylisted")),
        ("rcpt", Respond(452, "4.2.2 Mailbox full"), Retry("452", None, "4.2.2 <…>: Mailbox full")),
        ("data", Respond(552, "5.3.4 Too big"), Rejected("552", detail="5.3.4 <…>: Too big")),
        ("data", Respond(451, "4.3.0 Later"), Retry("451", None, "4.3.0 <…>: Later")),
        ("data", Respond(554, "5.7.1 Spam"), Rejected("554", detail="5.7.1 <…>: Spam")),
    ],
)
async def test_a_mail_server_refuses(
    stage: Stage, action: Respond, expected: Outcome, providers: Providers, send: Send
) -> None:
    """One person's refusal is that person's; the others' mails go over the same connection."""
    people = await providers.targets("smtp", 3)
    providers.tell("smtp", action, people[1], stage=stage)
    outcomes = await send("smtp", people)
    assert outcomes[1] == expected
    assert [type(outcomes[n]) for n in (0, 2)] == [Accepted, Accepted]


@pytest.mark.parametrize(
    ("stage", "code", "words"),
    [
        ("mail", 550, "5.1.0 Sender address rejected"),
        ("mail", 553, "5.1.1 Sender denied"),
        ("rcpt", 550, "5.1.1 Sender address rejected: User unknown"),
        ("rcpt", 550, "5.1.8 Bad sender"),
        ("rcpt", 554, "5.7.1 Relay access denied"),
        ("rcpt", 550, "relaying denied"),
    ],
)
async def test_a_mail_server_that_refuses_us(
    stage: Stage, code: int, words: str, providers: Providers
) -> None:
    """Our sender or our right to relay: no mailbox is doubted for it, and the work waits for who mends it."""
    gateway = providers.gateway("smtp")
    providers.rules.add("email", Respond(code, words), stage=stage, count=None)
    with pytest.raises(ChannelHalted, match=str(code)) as halted:
        await gateway.send(notice(), await providers.targets("smtp", 3), deadline_s=5.0)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Retry] * 3
    await gateway.aclose()


async def test_a_mail_server_that_takes_without_a_look(providers: Providers, send: Send) -> None:
    """252 to RCPT: it cannot tell whether the mailbox is there, and takes the mail."""
    message, people = uuid4(), await providers.targets("smtp", 2)
    providers.tell("smtp", Respond(252, "Cannot verify, will try"), people[0], stage="rcpt")
    outcomes = await send("smtp", people, message=message)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]
    assert await providers.arrived(message) == 2


@pytest.mark.parametrize(
    ("to", "expected"), [("rcpt", Retry("garbled")), ("end", Unknown("garbled")), ("later", Accepted())]
)
async def test_a_mail_server_that_talks_nonsense(to: str, expected: Outcome) -> None:
    """After the whole message it may have been taken; before, it was not. The connection is not believed again."""
    said = {"rcpt": b"250 ok", "end": b"250 ok", to: b"so so"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        async for line in reader:
            command = line[:4].strip().lower().decode()
            if command == "data":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                command = "end"
            writer.write(said.get(command, b"250 ok") + b"\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}?starttls=no"
        gateway = build("email", EmailConfig(smtp=SmtpConfig(url=url, sender="us@example.org")))
        first, second = await gateway.send(notice(), [target("a@example.org")] * 2, deadline_s=5.0)
    assert (type(first), getattr(first, "code", "")) == (type(expected), getattr(expected, "code", ""))
    assert isinstance(second, Accepted if to == "later" else Retry)


@pytest.mark.parametrize("action", [Hang(), Reset(connection=True)])
async def test_a_mail_server_that_fails_in_the_middle(
    action: Hang | Reset, providers: Providers, send: Send
) -> None:
    """What was taken is known, what was under way is Unknown, what comes after was certainly not sent."""
    people = await providers.targets("smtp", 3)
    providers.tell("smtp", action, people[1], stage="data")
    outcomes = await send("smtp", people, deadline_s=1.0)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Unknown, Retry]


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail"])
async def test_a_mail_server_that_hangs_early(stage: Stage, providers: Providers, send: Send) -> None:
    """Before a message has left, nothing has been taken."""
    people = await providers.targets("smtp", 2)
    providers.rules.add("email", Hang(), stage=stage)
    started = time.monotonic()
    outcomes = await send("smtp", people, deadline_s=0.7)
    assert time.monotonic() - started < 1.7
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]


async def test_a_mail_server_that_is_busy(providers: Providers, send: Send) -> None:
    """421 at the door."""
    providers.rules.add("email", Respond(421, "4.3.2 Busy"), stage="connect")
    [outcome] = await send("smtp", await providers.targets("smtp"))
    assert isinstance(outcome, Retry)


async def test_a_wrong_password(providers: Providers) -> None:
    """Halts the channel."""
    parts = urlsplit(providers.sandbox.urls.smtp)
    url = f"smtp://{parts.username}:wrong@{parts.hostname}:{parts.port}"
    gateway = providers.gateway("smtp", url=url)
    with pytest.raises(ChannelHalted, match="535") as halted:
        await gateway.send(notice(), await providers.targets("smtp", 2), deadline_s=5.0)
    assert [type(outcome) for outcome in halted.value.outcomes] == [Retry, Retry]
    await gateway.aclose()


async def test_what_a_mail_says(providers: Providers) -> None:
    """Well-formed, from us, the same Message-ID when it is repeated, and a way to leave."""
    gateway = providers.gateway(
        "smtp", unsubscribe_url="https://exchange.example/leave/", unsubscribe_key=LEAVING_KEY
    )
    message, [person] = uuid4(), await providers.targets("smtp")
    told = notice("Grüße\n.\n..\nund 👋" + "x" * 2_000, "Títle 👋", message=message)
    await gateway.send(told, [person], deadline_s=5.0)
    mail = message_from_bytes((await providers.last_request(person))["payload"], policy=default)
    assert isinstance(mail, EmailMessage)
    assert mail["Subject"] == "Títle 👋"
    assert mail["From"] == "Example <news@example.org>"
    assert mail["To"] == person.address
    assert mail["X-Message-Id"] == message.hex
    assert person.client is not None
    assert mail["Message-ID"] == f"<{uuid5(message, person.client.hex)}@example.org>"
    assert person.contact is not None
    link = mail["List-Unsubscribe"].removeprefix("<https://exchange.example/leave/").removesuffix(">")
    assert read_leaving_token(LEAVING_KEY, link) == Leaver("main", message, person.contact)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Date"].datetime is not None
    assert mail.get_content().replace("\r\n", "\n").rstrip("\n") == told.content.text
    await gateway.aclose()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://mail.example.org", "write smtp://"),
        ("smtp://", "write smtp://"),
        ("smtp://u:secret@mail.example.org?starttls=no", "on this machine"),
    ],
)
def test_an_smtp_url_that_cannot_work(url: str, complaint: str) -> None:
    """Told at the start, in one line without the password."""
    with pytest.raises(ValueError, match=complaint) as refused:
        build("email", {"smtp": {"url": url, "sender": "a@example.org"}})
    assert "secret" not in str(refused.value)


def test_a_password_with_odd_signs() -> None:
    """Percent-encoded in the URL, as itself to the server."""
    server = Server.of(f"smtps://user%40host:{quote('p@:/ß', safe='')}@mail.example.org")
    assert (server.user, server.password, server.port, server.implicit_tls) == (
        "user@host",
        "p@:/ß",
        465,
        True,
    )
