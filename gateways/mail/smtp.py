"""E-mail by SMTP submission (RFC 6409): a message for each person, one connection for a slice.

Owns the dialogue and the meaning of its replies. A reply that was due after the message had left, and never came,
makes it Unknown; before that it has certainly not been taken. TLS is required unless the URL says otherwise.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, formataddr
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from domain.deliveries import channel
from domain.deliveries.outcome import Accepted, Gone, Outcome, Rejected, Retry, Unknown
from domain.message import Content
from gateways.mail.message import (
    check_mail,
    is_address,
    on_the_wire,
    sender_parts,
    subject_of,
    unsubscribe_headers,
)
from gateways.port import Gateway, GatewayConfig, Notice, Target
from gateways.rendering import repeat_id
from gateways.verdict import Credit, Halt, Verdict, clipped, conclude, impersonal, now_utc

if TYPE_CHECKING:
    from aiosmtplib import SMTP

CONNECT_TIMEOUT_S = 10.0
QUIT_S = 0.5
"""Goodbyes are polite, not awaited."""
GARBLED = "garbled"
"""Code of what is no reply of SMTP."""

Stage = Literal["mail", "rcpt", "data"]
"""The command that was replied to; data: that, or the end of the message."""

_NO_MAILBOX = re.compile(r"5\.1\.(?:1|6|10)(?![0-9])")
"""Enhanced codes (RFC 3463) that begin a reply about the recipient's mailbox itself."""
_OURS = re.compile(
    r"5\.1\.[78](?![0-9])"
    r"|.*\bsender address rejected\b"
    r"|.*\brelay(?:ing)? (?:access )?(?:denied|not|prohibited)\b"
    r"|.*\b(?:to|not|cannot) relay\b",
    re.DOTALL | re.IGNORECASE,
)
"""Replies to RCPT that are about us: many servers keep what they have against the sender until then."""


class SmtpConfig(GatewayConfig, frozen=True, kw_only=True):
    """url: `smtp://user:password@host:587` (STARTTLS; `?starttls=no` for a server without, on this machine) or
    `smtps://...:465`. unsubscribe_url, unsubscribe_key: as for SendGrid.
    """

    SECRET: ClassVar[frozenset[str]] = frozenset({"url", "unsubscribe_key"})

    url: str
    sender: str
    ca_file: str | None = None
    unsubscribe_url: str = ""
    unsubscribe_key: bytes = b""


class Server(msgspec.Struct, frozen=True):
    host: str
    port: int
    user: str
    password: str
    implicit_tls: bool
    start_tls: bool

    @classmethod
    def of(cls, url: str) -> Server:
        """Raises ValueError, without the password in it."""
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise ValueError("the SMTP URL is none; write smtp://user:password@mail.example.org:587")
        implicit = parts.scheme == "smtps"
        plain = parse_qs(parts.query).get("starttls") == ["no"]
        if plain and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError(
                "starttls=no is for a server on this machine: passwords and mail would travel readable"
            )
        return cls(
            parts.hostname,
            parts.port or (465 if implicit else 587),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            implicit,
            start_tls=not (implicit or plain),
        )


class SmtpGateway:
    """slice_size: a server takes some tens of messages a second over one connection."""

    channel = channel.EMAIL
    slice_size = 50

    def __init__(self, config: SmtpConfig, *, clock: Callable[[], datetime] = now_utc) -> None:
        self._config, self._clock = config, clock
        self._server, self._sender = Server.of(config.url), sender_parts(config.sender)
        self._tls = ssl.create_default_context(cafile=config.ca_file)
        self._credit = Credit(clock)

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        verdicts: list[Verdict] = [Retry("deadline")] * len(targets)
        try:
            async with asyncio.timeout(deadline_s):
                await self._deliver(notice, targets, verdicts)
        except TimeoutError:
            pass  # each verdict says how far its message had come
        return conclude(verdicts, self._credit, targets=targets)

    def check(self, content: Content) -> None:
        check_mail(content)

    async def aclose(self) -> None:
        return None

    async def _deliver(self, notice: Notice, targets: Sequence[Target], verdicts: list[Verdict]) -> None:
        from aiosmtplib import SMTPException, SMTPServerDisconnected

        client = self._client()
        try:
            refusal = await self._begin(client)
            if refusal is not None:
                verdicts[:] = [refusal] * len(targets)
                return
            for index, target in enumerate(targets):
                await self._one(client, notice, target, verdicts, index)
                verdict = verdicts[index]
                if isinstance(verdict, Halt) and not verdict.doubtful:
                    verdicts[index:] = [verdict] * (len(targets) - index)
                    return
        except SMTPServerDisconnected as error:
            for index, verdict in enumerate(verdicts):
                if verdict == Retry("deadline"):
                    verdicts[index] = Retry("connection", None, clipped(str(error)))
        except (SMTPException, OSError) as error:
            for index, verdict in enumerate(verdicts):
                if verdict == Retry("deadline"):
                    verdicts[index] = Retry("smtp", None, clipped(str(error)))
        finally:
            client.close()

    def _client(self) -> SMTP:
        from aiosmtplib import SMTP

        return SMTP(
            hostname=self._server.host,
            port=self._server.port,
            timeout=CONNECT_TIMEOUT_S,
            use_tls=self._server.implicit_tls,
            start_tls=self._server.start_tls,
            tls_context=self._tls,
        )

    async def _begin(self, client: SMTP) -> Verdict | None:
        """Connect, secure, log in. The verdict on everybody when that fails."""
        from aiosmtplib import SMTPAuthenticationError, SMTPException

        try:
            await client.connect()
            if self._server.user:
                await client.login(self._server.user, self._server.password)
        except SMTPAuthenticationError as error:
            return Halt(str(error.code), clipped(error.message))
        except ssl.SSLError as error:
            return Halt("tls", str(error.reason or error))
        except (SMTPException, OSError) as error:
            return _judge_connecting(error)
        return None

    async def _one(
        self, client: SMTP, notice: Notice, target: Target, verdicts: list[Verdict], index: int
    ) -> None:
        """One message. A refusal is this message's; a broken connection is everybody's and is raised."""
        from aiosmtplib import SMTPResponseException, SMTPServerDisconnected

        address = on_the_wire(target.address) if is_address(target.address) else None
        if address is None:
            verdicts[index] = Rejected("bad-address", quarantine=True)
            return
        message = self._render(notice, target)
        stage: Stage = "mail"
        try:
            await client.mail(self._sender[1])
            stage = "rcpt"
            await _name_recipient(client, address)
            stage, verdicts[index] = "data", Unknown("deadline")
            _, reply = await client.data(message)
            verdicts[index] = Accepted(provider_id=impersonal(clipped(reply), address))
        except SMTPServerDisconnected as error:
            if verdicts[index] == Unknown("deadline"):
                verdicts[index] = Unknown("connection", clipped(str(error)))
            raise
        except SMTPResponseException as refusal:
            verdicts[index] = judge(stage, refusal.code, refusal.message)
            if not 400 <= refusal.code < 600:
                # What comes next over this connection may be an answer to anything.
                raise SMTPServerDisconnected("the server's replies make no sense") from None
            await client.rset()

    def _render(self, notice: Notice, target: Target) -> bytes:
        config = self._config
        leaving = unsubscribe_headers(config.unsubscribe_url, config.unsubscribe_key, notice, target)
        return render(notice, target, self._sender, leaving, self._clock())


def render(
    notice: Notice, target: Target, sender: tuple[str, str], leaving: Mapping[str, str], now: datetime
) -> bytes:
    """The message. leaving: headers. Message-ID is the same for a repeat, so that mailboxes can tell."""
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = formataddr(sender)
    mail["To"] = on_the_wire(target.address)
    mail["Subject"] = subject_of(notice)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{repeat_id(notice.message, target)}@{sender[1].rpartition('@')[2]}>"
    mail["X-Message-Id"] = notice.message.hex
    for name, value in leaving.items():
        mail[name] = value
    mail.set_content(notice.content.text)
    return mail.as_bytes()


async def _name_recipient(client: SMTP, address: str) -> None:
    """RCPT, any 2xx of which takes the recipient (RFC 5321, 4.2.1); the library takes 250 and 251 alone."""
    from aiosmtplib import SMTPRecipientRefused

    try:
        await client.rcpt(address)
    except SMTPRecipientRefused as refusal:
        if not 200 <= refusal.code < 300:
            raise


def judge(stage: Stage, code: int, message: str) -> Verdict:
    """A reply other than yes (RFC 5321, 4.2; enhanced codes RFC 3463). MAIL says who we are, so what is refused there
    is refused for everybody; only RCPT says anything of a mailbox.
    """
    detail, name = clipped(message), f"{code}"
    if not 400 <= code < 600:
        # After the message the server may have taken it, whatever it meant to say.
        return Unknown(GARBLED, detail) if stage == "data" else Retry(GARBLED, None, detail)
    if code < 500:
        return Retry(name, None, detail)
    if stage == "mail" or code in {530, 534, 535, 538}:
        return Halt(name, detail)
    if stage == "rcpt" and _OURS.match(message):
        return Halt(name, detail, doubtful=True)
    if stage == "rcpt" and _NO_MAILBOX.match(message):
        # No such mailbox; servers have said so by mistake, hence once more before it is believed.
        return Gone(name, confirm=True, detail=detail)
    return Rejected(name, detail=detail)


def _judge_connecting(error: Exception) -> Verdict:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError) or "STARTTLS" in str(error):
        return Halt("tls", clipped(str(error)))
    return Retry("connect", None, clipped(str(error)))


def open_smtp(config: SmtpConfig) -> Gateway:
    return SmtpGateway(config)
