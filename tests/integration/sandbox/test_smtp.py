from __future__ import annotations

import asyncio
import ssl
import time
from email.message import EmailMessage
from urllib.parse import urlsplit

import aiosmtplib
import pytest

from infra.sandbox import GoAway, Hang, Proceed, Reset, Respond, Sandbox


def letter(**changed: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "News <news@example.org>"
    mail["To"] = "a@example.org"
    mail["Subject"] = changed.get("subject", "Wetter für Köln")
    mail["X-Message-Id"] = "m-1"
    mail.set_content(changed.get("text", "Es regnet.\n"))
    mail.add_alternative("<p>Es regnet.</p>", subtype="html")
    return mail


class Postman:
    """A client of the mail server, with the right or a wrong password."""

    def __init__(self, sandbox: Sandbox) -> None:
        url = urlsplit(sandbox.urls.smtp)
        self.host, self.port = url.hostname or "", url.port or 0
        self.user, self.password = url.username or "", url.password or ""
        self.context = ssl.create_default_context(cafile=str(sandbox.ca_file))

    def connection(self, timeout_s: float = 5.0) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.user,
            password=self.password,
            start_tls=True,
            tls_context=self.context,
            timeout=timeout_s,
        )

    async def send(
        self, *to: str, mail: EmailMessage | None = None
    ) -> tuple[dict[str, aiosmtplib.SMTPResponse], str]:
        async with self.connection() as smtp:
            return await smtp.send_message(mail or letter(), recipients=list(to or ("a@example.org",)))


@pytest.fixture
def postman(sandbox: Sandbox) -> Postman:
    return Postman(sandbox)


async def test_a_mail_is_accepted_and_booked(sandbox: Sandbox, postman: Postman) -> None:
    """After STARTTLS and AUTH a mail is taken, and each recipient has an entry as it would be read."""
    errors, reply = await postman.send("a@example.org", "b@example.org")
    assert (errors, reply[:5]) == ({}, "2.0.0")
    items, total = await sandbox.books.messages(channel="email")
    assert total == 2
    assert [item.address for item in items] == ["a@example.org", "b@example.org"]
    assert {(i.title, i.body, i.message_id, i.status, i.provider) for i in items} == {
        ("Wetter für Köln", "Es regnet.", "m-1", 250, "smtp")
    }


async def test_tls_and_a_password_are_required(sandbox: Sandbox, postman: Postman) -> None:
    """Without STARTTLS nothing is taken, without AUTH no sender, with a wrong password 535."""
    smtp = aiosmtplib.SMTP(hostname=postman.host, port=postman.port, start_tls=False)
    await smtp.connect()
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await smtp.mail("news@example.org")
    assert refused.value.code == 530
    await smtp.starttls(tls_context=postman.context)
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await smtp.mail("news@example.org")
    assert refused.value.code == 530
    with pytest.raises(aiosmtplib.SMTPAuthenticationError) as wrong:
        await smtp.login(postman.user, "wrong")
    assert wrong.value.code == 535
    smtp.close()
    assert (await sandbox.books.messages())[1] == 0


async def test_a_stranger_does_not_trust_the_certificate(postman: Postman) -> None:
    """A client that does not know the CA refuses the server."""
    postman.context = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        await postman.send()


@pytest.mark.parametrize("code", [450, 451, 452, 550, 552, 554])
async def test_a_recipient_can_be_refused(sandbox: Sandbox, postman: Postman, code: int) -> None:
    """A rule answers RCPT for one address; the others get their mail."""
    sandbox.rules.add("email", Respond(code, "5.1.1 told so"), exact="b@example.org")
    errors, _ = await postman.send("a@example.org", "b@example.org")
    assert errors == {"b@example.org": (code, "5.1.1 <b@example.org>: told so")}
    items, _ = await sandbox.books.messages(refused=True)
    assert [(i.address, i.status, i.arrived) for i in items] == [
        ("b@example.org", code, False),
        ("a@example.org", 250, True),
    ]


@pytest.mark.parametrize("stage", ["connect", "ehlo", "auth", "mail", "data"])
async def test_any_command_can_be_refused(sandbox: Sandbox, postman: Postman, stage: str) -> None:
    """A rule answers the command of its stage until it is deleted."""
    sandbox.rules.add("smtp", Respond(451, "4.3.0 later"), stage=stage, count=None)  # type: ignore[arg-type]
    with pytest.raises(aiosmtplib.SMTPException) as refused:
        await postman.send()
    # After a refused EHLO the client tries HELO, and is told that STARTTLS comes first.
    said = {"ehlo": "Must issue a STARTTLS", "data": "4.3.0 <a@example.org>: later"}.get(stage, "4.3.0 later")
    assert said in str(refused.value)
    sandbox.rules.clear()
    assert (await sandbox.books.messages())[1] == 0
    assert (await postman.send())[0] == {}


@pytest.mark.parametrize("stage", ["connect", "auth", "rcpt", "data"])
@pytest.mark.parametrize("action", [Reset(), GoAway()])
async def test_the_connection_can_be_cut(
    sandbox: Sandbox, postman: Postman, stage: str, action: Reset | GoAway
) -> None:
    """A client sees the connection end, in the middle of whatever it was doing."""
    sandbox.rules.add("smtp", action, stage=stage)  # type: ignore[arg-type]
    with pytest.raises((aiosmtplib.SMTPException, OSError)):
        await postman.send()
    assert (await sandbox.books.messages())[1] == 0


async def test_a_lost_answer(sandbox: Sandbox, postman: Postman) -> None:
    """A mail can be taken and its answer withheld: the client times out, the books have it."""
    sandbox.rules.add("smtp", Hang(processed=True), stage="data")
    async with postman.connection() as smtp:
        with pytest.raises(aiosmtplib.SMTPTimeoutError):
            await smtp.send_message(letter(), timeout=0.3)
    (item,), _ = await sandbox.books.messages()
    assert (item.address, item.status) == ("a@example.org", None)


async def test_an_answer_can_be_late(sandbox: Sandbox, postman: Postman) -> None:
    """A delay comes before the usual answer."""
    sandbox.rules.add("smtp", Proceed(), stage="data", delay_s=0.2)
    began = time.monotonic()
    assert (await postman.send())[0] == {}
    assert time.monotonic() - began >= 0.2


async def test_many_clients_at_once(sandbox: Sandbox, postman: Postman) -> None:
    """Twenty clients at once each get their mail through."""
    await asyncio.gather(*(postman.send(f"user{n}@example.org") for n in range(20)))
    items, total = await sandbox.books.messages()
    assert total == 20
    assert {item.address for item in items} == {f"user{n}@example.org" for n in range(20)}
