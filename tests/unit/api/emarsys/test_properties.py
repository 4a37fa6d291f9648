"""What a client says of itself: bounded in bytes as we write it and in depth, whichever way it is written."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.emarsys.bodies import GROWTH_MAX, PROPERTIES_BYTES_MAX, properties_of
from domain.errors import Invalid, TooLarge
from domain.text.nesting import DEPTH_MAX

NUMBERS = st.builds("{}{}e{}".format, st.sampled_from(["", "-"]), st.integers(0, 99), st.integers(-320, 290))
TEXTS = st.text(max_size=20)
WRITTEN = st.recursive(
    NUMBERS | st.builds(json.dumps, st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS),
    lambda inner: st.builds(lambda items: f"[{','.join(items)}]", st.lists(inner, max_size=6)),
    max_leaves=20,
)


@given(written=WRITTEN)
def test_no_json_grows_by_more_than_is_reckoned_with(written: str) -> None:
    """Or what is small as it comes could be too large as we write it."""
    try:
        value = msgspec.json.decode(written)
    except msgspec.DecodeError:
        return  # a number that none of ours takes: mended before it is looked at
    assert len(msgspec.json.encode(value)) <= GROWTH_MAX * len(written.encode())


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"a": "x" * PROPERTIES_BYTES_MAX}, TooLarge),
        ({"a": [1e15] * 2_000}, TooLarge),
        ({"a": json.loads("[" * DEPTH_MAX + "]" * DEPTH_MAX)}, Invalid),
    ],
    ids=["a long text", "numbers that are longer as we write them", "deep"],
)
def test_what_is_too_large_or_too_deep_is_refused(body: dict[str, Any], refusal: type[Exception]) -> None:
    """By its size as we write it, whatever it came in."""
    content = json.dumps(body).replace("1000000000000000.0", "1e15").encode()
    with pytest.raises(refusal):
        properties_of(body, content)


CHANNEL = {
    "channelId": "conversation-4711",
    "importance": 4,
    "canShowBadge": True,
    "canBypassDnd": False,
    "shouldVibrate": True,
    "shouldShowLights": True,
}


def test_too_many_notification_channels_cost_a_device_nothing_else() -> None:
    """Android takes any answer for one that it was told (ClientInfoResponseHandler.kt at 3.11.0): it would not register
    again until something else changes, and be refused again.
    """
    for channels in ([CHANNEL], [CHANNEL] * 200):
        push = {"areNotificationsEnabled": False, "importance": -1000}
        body = {"platform": "android", "pushSettings": {**push, "channelSettings": channels}}
        told = properties_of(json.loads(json.dumps(body)), json.dumps(body).encode())
        assert told == (body if len(channels) == 1 else {"platform": "android", "pushSettings": push})
    body = {"a": "x" * PROPERTIES_BYTES_MAX, "pushSettings": {"channelSettings": [CHANNEL] * 200}}
    with pytest.raises(TooLarge):
        properties_of(body, json.dumps(body).encode())


@pytest.mark.parametrize("size", [10, PROPERTIES_BYTES_MAX - 100])
def test_the_rest_is_kept_without_the_name_of_the_client(size: int) -> None:
    """v4 says its client id in the body, too."""
    body = {"clientId": "device-1", "platform": "ios", "a": "x" * size}
    assert properties_of(dict(body), json.dumps(body).encode()) == {"platform": "ios", "a": "x" * size}
