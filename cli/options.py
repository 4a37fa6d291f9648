"""How values on the command line are read that several commands take: realms, uids, apps' codes, lengths of time.

What is no such value is refused before anything is opened, with what to write. Knows no command.
"""

from __future__ import annotations

from datetime import timedelta

import typer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DIGITS_MAX = 9
"""Of a number with a unit: so many days are as long as a timedelta gets."""


def duration(text: str, *, most: timedelta, option: str) -> timedelta:
    """A time like 90s, 30m, 1h or 7d."""
    number, unit = text[:-1].lstrip("0"), text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit():
        raise typer.BadParameter(f"{text!r} is no time: write 90s, 30m, 1h or 7d", param_hint=option)
    found = timedelta(**{_UNITS[unit]: int(number)}) if len(number) <= _DIGITS_MAX else timedelta.max
    if found > most:
        raise typer.BadParameter(f"{text} is too long: write {most.days}d at most", param_hint=option)
    return found


def realm(text: str) -> str:
    from api.access.auth import REALM

    if not REALM.fullmatch(text):
        raise typer.BadParameter(
            f"{text!r} is no realm: it has 1 to 64 letters, digits, dots, dashes or underscores"
        )
    return text


def uid(text: str) -> str:
    from commands.contacts import UID_MAX

    if not 1 <= len(text) <= UID_MAX or not text.isprintable():
        raise typer.BadParameter(f"{text!r} is no uid: it has 1 to {UID_MAX} printable characters")
    return text


def app_code(text: str) -> str:
    from domain.app import assert_code
    from domain.errors import Invalid

    try:
        assert_code(text)
    except Invalid as wrong:
        raise typer.BadParameter(f"{text!r} is no app's code: {wrong.detail}") from None
    return text


def role(text: str) -> str:
    if not text or not text.isprintable():
        raise typer.BadParameter(f"{text!r} is no role: write a name such as admin")
    return text
