"""A mail server that takes mail only after STARTTLS and AUTH, over `aiosmtpd`, and the mailboxes behind it.

Owns its port on loopback. The exchange's message id travels in the header `X-Message-Id`. Rules may answer any
command; a mail is acknowledged only once it is booked.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import ssl
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from infra.sandbox.books import Books, Entry, Received
from infra.sandbox.keyring import Keyring
from infra.sandbox.providers.sendgrid import BOOKED_BODY_CHARACTERS, as_text
from infra.sandbox.rules import GoAway, Hang, Proceed, Refuse, Reset, Respond, Rule, Rules, Stage
from infra.sandbox.wire.binding import HOST, bound, closed
from infra.sandbox.wire.stream import cut_off

MAIL_BYTES_MAX = 10 * 1024 * 1024
RECIPIENTS_MAX = 1_000
CONNECTIONS_MAX = 64
IDLE_TIMEOUT_S = 120.0
NAMES = ("email", "smtp")
ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3} ")


class MailServer:
    def __init__(self, keyring: Keyring, books: Books, rules: Rules) -> None:
        self.keyring, self.books, self.rules = keyring, books, rules
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(keyring.certificate_file, keyring.certificate_key_file)
        self.conversations: set[Conversation] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        kept = self.keyring.secrets
        return f"smtp://{kept.smtp_user}:{kept.smtp_password}@{HOST}:{self.port}"

    async def start(self, wanted_port: int = 0) -> None:
        # aiosmtpd logs every client that hangs up with a traceback, and its own deprecations at each login.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        loop = asyncio.get_running_loop()

        async def bind(port: int) -> asyncio.Server:
            return await loop.create_server(lambda: Conversation(self), HOST, port, backlog=CONNECTIONS_MAX)

        self._server = await bound(bind, wanted_port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        if self._server is not None:
            await closed(self._server, [each.end for each in self.conversations])

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        kept = self.keyring.secrets
        known = (
            isinstance(given, LoginPassword)
            and hmac.compare_digest(given.login, kept.smtp_user.encode())
            and hmac.compare_digest(given.password, kept.smtp_password.encode())
        )
        # handled=False: aiosmtpd answers 535 5.7.8 by itself.
        return AuthResult(success=known, handled=False)

    async def book(
        self, addresses: list[str], content: bytes, reply: str, *, arrived: bool, fault: str = ""
    ) -> None:
        """Return once it is on disk. Raises OSError when it cannot be."""
        done = asyncio.get_running_loop().create_future()

        def booked(error: OSError | None) -> None:
            if not done.done():
                done.set_exception(error) if error else done.set_result(None)

        received = Received(
            provider="smtp",
            method="DATA" if content else "RCPT",
            target="",
            headers={},
            payload=content,
            received_at=time.time(),
            status=int(reply[:3]) if reply else None,
            fault=fault,
        )
        entry = _entry(content)
        entries = [_to(entry, address) for address in addresses]
        self.books.append(received, entries, arrived=arrived, then=booked)
        await done


class Conversation(SMTP):
    """One client's connection, with the rules asked before each command."""

    def __init__(self, server: MailServer) -> None:
        self._mail_server = server
        super().__init__(
            _Mailbox(server),
            hostname="localhost",
            ident="MSGXC sandbox",
            data_size_limit=MAIL_BYTES_MAX,
            enable_SMTPUTF8=True,
            require_starttls=True,
            tls_context=server.context,
            auth_required=True,
            authenticator=server.authenticate,
            timeout=IDLE_TIMEOUT_S,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._mail_server.conversations.add(self)
        super().connection_made(transport)
        if len(self._mail_server.conversations) > CONNECTIONS_MAX:
            self.end()

    def connection_lost(self, error: Exception | None) -> None:
        self._mail_server.conversations.discard(self)
        super().connection_lost(error)

    def end(self) -> None:
        if self.transport is not None:
            self.transport.close()

    async def _handle_client(self) -> None:
        told = await self.told("connect", ())
        if told:
            await self.push(told)
            self.end()
        else:
            await super()._handle_client()

    async def smtp_EHLO(self, arg: str) -> None:  # noqa: N802  aiosmtpd's name
        await self._unless_told("ehlo", super().smtp_EHLO, arg)

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        await self._unless_told("auth", super().smtp_AUTH, arg)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        await self._unless_told("mail", super().smtp_MAIL, arg)

    async def told(self, stage: Stage, addresses: tuple[str, ...], content: bytes = b"") -> str:
        """The reply a rule wants; "" when there is none. Doesn't return when the rule cuts the client off."""
        rule = self._mail_server.rules.take(NAMES, addresses, stage=stage)
        if rule is None:
            return ""
        await asyncio.sleep(rule.delay_s)
        match rule.action:
            case Respond() as answer:
                return (
                    f"{answer.status} {answer.body or _naming(addresses, answer.reason or 'told to say so')}"
                )
            case Proceed():
                return ""
            case Hang() | Reset() | Refuse() | GoAway():
                await self._fail(rule, addresses, content)
        forever: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await forever

    async def _unless_told(self, stage: Stage, command: Any, arg: str | None) -> None:
        told = await self.told(stage, ())
        if told:
            await self.push(told)
        else:
            await command(arg)

    async def _fail(self, rule: Rule, addresses: tuple[str, ...], content: bytes) -> None:
        action = rule.action
        processed = isinstance(action, Hang | Reset | GoAway) and action.processed and bool(content)
        fault = type(action).__name__.lower()
        await self._mail_server.book(list(addresses), content, "", arrived=processed, fault=fault)
        carrier = self._original_transport or self.transport
        if isinstance(action, Reset) and carrier is not None:
            cut_off(cast("asyncio.WriteTransport", carrier))
        elif not isinstance(action, Hang):
            self.end()


class _Mailbox:
    """aiosmtpd's hooks: who may be written to, and what becomes of a mail."""

    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self,
        conversation: Conversation,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if len(envelope.rcpt_tos) >= RECIPIENTS_MAX:
            return "452 4.5.3 Too many recipients"
        reply = await conversation.told("rcpt", (address,))
        if reply and not reply.startswith("2"):
            await self._server.book([address], b"", reply, arrived=False)
            return reply
        envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802
        self, conversation: Conversation, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.original_content or b""
        recipients = [str(address) for address in envelope.rcpt_tos]
        reply = await conversation.told("data", tuple(recipients), content) or "250 2.0.0 OK: queued"
        try:
            await self._server.book(recipients, content, reply, arrived=reply.startswith("2"))
        except OSError:
            return "451 4.3.0 The books cannot be written"
        return reply


def _naming(addresses: tuple[str, ...], words: str) -> str:
    """As mail servers put it: 5.1.1 <ann@example.org>: No such user."""
    enhanced = ENHANCED_CODE.match(words)
    place = enhanced.end() if enhanced else 0
    named = "".join(f"<{address}>: " for address in addresses[:1])
    return f"{words[:place]}{named}{words[place:]}"


def _entry(content: bytes) -> Entry:
    if not content:
        return Entry(address="")
    mail = message_from_bytes(content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return Entry(
        address="",
        title=_header(mail, "Subject"),
        body=_text(mail)[:BOOKED_BODY_CHARACTERS],
        message_id=_header(mail, "X-Message-Id"),
        provider_id=_header(mail, "Message-Id"),
        sender=_header(mail, "From"),
    )


def _to(entry: Entry, address: str) -> Entry:
    return Entry(
        address=address,
        title=entry.title,
        body=entry.body,
        message_id=entry.message_id,
        provider_id=entry.provider_id,
        sender=entry.sender,
    )


def _header(mail: EmailMessage, name: str) -> str:
    return str(mail.get(name, "")).strip()


def _text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain", "html"))
    if part is None:
        return ""
    try:
        text = str(part.get_content()).strip()
    except (LookupError, KeyError):
        return "(in a charset that cannot be read)"
    return as_text(text) if part.get_content_type() == "text/html" else text
