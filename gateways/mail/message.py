"""What an e-mail of the exchange says, whoever carries it: subject, text, headers that let a person leave.

Pure. No header ever takes a line break, whatever a sender wrote.
"""

from __future__ import annotations

import re
from email.utils import parseaddr

from domain.errors import Invalid, TooLarge
from domain.message import Content
from domain.people.leaving import Leaver, leaving_token
from gateways.port import Notice, Target

SUBJECT_CHARS_MAX = 900
"""A header line carries 998 bytes (RFC 5322, 2.1.1)."""
TEXT_BYTES_MAX = 256 * 1024
ADDRESS_CHARS_MAX = 254
"""RFC 5321, 4.5.3.1."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and whatever else anybody takes for the end of a line."""
_ENCODED = re.compile(r"=\?")
"""Begins an encoded word (RFC 2047): who composes or reads the mail would decode it, line breaks included."""
_ADDRESS = re.compile(r"[^@\s<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@[^@\s<>()\[\],;:\\\"\x00-\x1f\x7f]{1,253}")


def check_mail(content: Content) -> None:
    if _UNSAFE.search(content.subject):
        raise Invalid("a subject is one line without control characters", field="subject")
    if len(content.subject) > SUBJECT_CHARS_MAX:
        raise TooLarge(f"a subject has {SUBJECT_CHARS_MAX} characters at most", field="subject")
    if len(content.text.encode()) > TEXT_BYTES_MAX:
        raise TooLarge(f"an e-mail carries {TEXT_BYTES_MAX} bytes of text", field="msg")


def subject_of(notice: Notice) -> str:
    """The sender's subject, else the exchange's own of old. Safe as a header."""
    fallback = "New message" if notice.tid is None else f"New message in thread {notice.tid}"
    return safe_header(notice.content.subject or fallback)[:SUBJECT_CHARS_MAX]


def safe_header(text: str) -> str:
    return _ENCODED.sub("= ?", _UNSAFE.sub(" ", text)).strip()


def is_address(text: str) -> bool:
    """Good enough to be put into a command or a header; whether it exists is the provider's to say."""
    return (
        len(text) <= ADDRESS_CHARS_MAX
        and _ADDRESS.fullmatch(text) is not None
        and not (_UNSAFE.search(text) or _ENCODED.search(text))
    )


def on_the_wire(address: str) -> str | None:
    """An address as any mail server takes it, its domain in ASCII; None where only SMTPUTF8 could carry it."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}" if local.isascii() else None
    except UnicodeError:
        return None


def sender_parts(sender: str) -> tuple[str, str]:
    """Name and address of `Example <news@example.org>`. Raises ValueError."""
    name, address = parseaddr(sender)
    if not is_address(address) or _UNSAFE.search(name):
        raise ValueError(f"the sender {sender!r} is no address; write Example <news@example.org>")
    return name, address


def unsubscribe_headers(url: str, key: bytes, notice: Notice, target: Target) -> dict[str, str]:
    """One click leaves (RFC 8058); nothing when there is no public URL to click, or nobody in particular to leave.

    url: what the token follows. key: what tokens are made with.
    """
    if not url or target.contact is None:
        return {}
    token = leaving_token(key, Leaver(notice.realm, notice.message, target.contact))
    return {"List-Unsubscribe": f"<{url}{token}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
