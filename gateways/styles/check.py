"""Whether an app's message fits a channel, in the form that its style gives it: asked before it is accepted."""

from __future__ import annotations

from uuid import UUID

from domain.deliveries import channel
from domain.message import Content
from domain.notifications.push import assert_valid, push_of
from gateways.keys.push_encryption import PLAIN_BYTES_MAX
from gateways.port import AppSender
from gateways.rendering import PAYLOAD_BYTES_MAX, check_size, encode_json
from gateways.styles import STYLES
from gateways.styles.sheet import Marks, Sheet, Style

SID_CHARS = 120
"""With a long realm's name."""
LINK_CHARS = 360
"""Of a link that a browser reports by, with a public URL of ordinary length."""


def check(content: Content, style: str, name: str) -> None:
    """Raises domain.errors.TooLarge or Invalid. A style that is not there has no form of its own to check."""
    form = STYLES.get(style)
    if form is None:
        return
    sheet = _sample(content)
    match name:
        case channel.APNS:
            check_size("APNs", len(encode_json(form.apns(sheet))))
        case channel.FCM:
            _check_fcm(form, sheet)
        case channel.WEBPUSH:
            check_size("web push", len(encode_json(form.web(sheet))), PLAIN_BYTES_MAX)
        case _:
            return


def _check_fcm(style: Style, sheet: Sheet) -> None:
    from gateways.fcm import assert_free, size_of

    form = style.fcm(sheet)
    assert_free(form.data)
    check_size("FCM", size_of(form), PAYLOAD_BYTES_MAX)


def _sample(content: Content) -> Sheet:
    push = push_of(content)
    assert_valid(push)
    link = "x" * LINK_CHARS
    marks = Marks("x" * SID_CHARS, "x" * 36, link, link, (link,) * len(push.actions))
    return Sheet(str(UUID(int=0)), AppSender(code="x" * 64), content, push, marks)
