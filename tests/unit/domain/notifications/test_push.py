"""What a sender says of a notification: kept in the message's opts, read back as it was, refused where no device could
show it.
"""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import Invalid
from domain.message import Content
from domain.notifications.push import ACTIONS_MAX, Action, PushContent, assert_valid, opts_of, push_of

RICH = PushContent(
    image="https://a.example/i.png",
    link="https://a.example",
    tap=Action(type="MEAppEvent", name="opened", payload={"a": "1"}),
    actions=(Action(id="buy", title="Buy", url="https://a.example/buy"), Action(id="no", type="Dismiss")),
    campaign="4711",
    treatments={"x": [1]},
    data={"deep": {"er": 1}},
)


def test_what_is_said_is_read_back() -> None:
    """Through the opts of a message; what is not said is not kept."""
    assert push_of(Content("hello", opts={**opts_of(RICH), "sound": "ping"})) == RICH
    assert push_of(Content("hello")) == PushContent()
    assert opts_of(PushContent()) == {"push": {}}
    assert_valid(RICH)


@pytest.mark.parametrize(
    "push",
    [
        7,
        {"image": 7},
        {"actions": [{"type": "Explode", "id": "a"}]},
        {"actions": {"id": "a"}},
        {"tap": {"payload": {"a": 1}}},
    ],
)
def test_what_cannot_be_read_is_refused(push: Any) -> None:
    """The field is named."""
    with pytest.raises(Invalid, match=r"opts\.push"):
        push_of(Content("hello", opts={"push": push}))


@pytest.mark.parametrize(
    "push",
    [
        PushContent(
            actions=tuple(Action(id=str(n), url="https://a.example") for n in range(ACTIONS_MAX + 1))
        ),
        PushContent(actions=(Action(id="a"), Action(id="a"))),
        PushContent(actions=(Action(title="no id"),)),
        PushContent(tap=Action()),
        PushContent(tap=Action(type="MECustomEvent")),
        PushContent(actions=(Action(id="a", title="x" * 257),)),
        PushContent(image="https://a.example/" + "x" * 2_048),
    ],
)
def test_what_no_device_could_show_is_refused(push: PushContent) -> None:
    """Too much of it, actions that cannot be told apart, actions that do nothing."""
    with pytest.raises(Invalid):
        assert_valid(push)
