"""One message of an app for many recipients: written once, then only what differs is filled in.

Owns what differs (`Marks`) and where it comes from. Never sends.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence

from domain.notifications.push import push_of
from domain.notifications.sid import sid_of
from gateways.port import Notice, Target
from gateways.rendering import repeat_id
from gateways.styles import STYLES
from gateways.styles.sheet import Marks, Sheet, Style

_SID, _ID, _LINKS = 0, 1, 2
"""Numbers of the marks; links are the third and all that follow."""
_PLAIN = re.compile(r"[ !#-\[\]-~]*")

type Write = Callable[[Style, Sheet], bytes]
"""A channel's bytes for a sheet."""


class Letter:
    """The payloads of one notice, in its app's style.

    blank_bytes: of a payload before anything is filled in.
    """

    def __init__(self, notice: Notice, channel: str, write: Write) -> None:
        assert notice.app is not None
        self._app, self._channel = notice.app, channel
        self._realm, self._message = notice.realm, notice.message
        self._push = push_of(notice.content)
        blanks = _blanks(len(self._push.actions), links=self._app.links is not None)
        sheet = Sheet(str(notice.message), self._app, notice.content, self._push, blanks)
        written = write(STYLES[self._app.style], sheet)
        self.blank_bytes = len(written)
        self._parts = _split(written, blanks)
        used = {number for _, number in self._parts}
        # Hot path: what a style does not say is not made, for half a million recipients.
        self._asks_sid, self._asks_id = _SID in used, _ID in used
        self._asks_links = any(number >= _LINKS for number in used)
        self._action_ids = [action.id for action in self._push.actions]

    def body(self, target: Target) -> bytes:
        """What goes to one recipient."""
        filled = [text.encode() for text in _texts(self._marks(target))]
        return b"".join(part if number < 0 else filled[number] for part, number in self._parts)

    def _marks(self, target: Target) -> Marks:
        sid = self._sid(target) if self._asks_sid else ""
        id = repeat_id(self._message, target) if self._asks_id else ""
        if self._app.links is None or not self._asks_links:
            return Marks(sid, id)
        links = self._app.links.of(
            self._message, self._push.campaign, target, self._channel, self._action_ids
        )
        return Marks(sid, id, links.clicked, links.received, links.actions)

    def _sid(self, target: Target) -> str:
        return sid_of(
            self._app.sid_key,
            self._realm,
            self._message,
            channel=self._channel,
            client=target.client,
            contact=target.contact,
        )


def letter(notice: Notice, channel: str, write: Write) -> Letter | None:
    """None for a notice that goes out in the exchange's own form."""
    if notice.app is None or notice.app.style not in STYLES:
        return None
    return Letter(notice, channel, write)


def _blanks(actions: int, *, links: bool) -> Marks:
    """Stand-ins that no text of a sender can be taken for. Without links they are "", which styles leave out."""
    nonce = secrets.token_hex(12)
    if not links:
        return Marks(f"{nonce}s", f"{nonce}i", actions=("",) * actions)
    return Marks(
        f"{nonce}s",
        f"{nonce}i",
        f"{nonce}c",
        f"{nonce}r",
        tuple(f"{nonce}a{number:02}" for number in range(actions)),
    )


def _texts(marks: Marks) -> tuple[str, ...]:
    texts = (marks.sid, marks.id, marks.clicked, marks.received, *marks.actions)
    assert _PLAIN.fullmatch("".join(texts)), "marks are in letters that JSON leaves as they are"
    return texts


def _split(body: bytes, blanks: Marks) -> Sequence[tuple[bytes, int]]:
    """The body in pieces: (text, -1), or (anything, number of the mark that goes there)."""
    names = {text.encode(): number for number, text in enumerate(_texts(blanks)) if text}
    pieces = re.split(b"(" + b"|".join(names) + b")", body)
    return [(piece, names.get(piece, -1)) for piece in pieces if piece]
