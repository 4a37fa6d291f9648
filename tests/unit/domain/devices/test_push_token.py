"""Push tokens as addresses: who carries them, and what can't be one."""

from __future__ import annotations

import pytest

from domain.deliveries.channel import APNS, FCM, HMS, WEBPUSH
from domain.devices.push_token import TOKEN_MAX, push_address
from domain.errors import Invalid

HEX = "0123456789abcdefABCDEF" * 3
APPLES = HEX[:64]
FIREBASES = "dRXQYr2e8sQ:APA91bH" + "x" * 130
SUBSCRIPTION = '{"endpoint": "https://push.example.org/1", "keys": {"p256dh": "BKey", "auth": "secret"}}'


@pytest.mark.parametrize(
    ("token", "platform", "channel"),
    [
        (APPLES, "", APNS),
        (APPLES, "ios", APNS),
        (APPLES, "safari", APNS),
        (APPLES, "android", FCM),
        (APPLES, "android-huawei", HMS),
        (APPLES[:63], "", FCM),
        (HEX[:65], "", FCM),
        (APPLES[:63] + "x", "", FCM),
        (FIREBASES, "", FCM),
        (FIREBASES, "ios", APNS),
        (SUBSCRIPTION, "", WEBPUSH),
        (SUBSCRIPTION, "ios", WEBPUSH),
        (SUBSCRIPTION, "safari", WEBPUSH),
    ],
)
def test_the_platform_decides_and_without_one_the_tokens_looks(
    token: str, platform: str, channel: str
) -> None:
    """64 hexadecimal digits are Apple's where the device has not said what it is; a subscription tells by itself."""
    assert push_address(token, platform).channel == channel


@pytest.mark.parametrize("token", ["", "two words", "ä", "x" * (TOKEN_MAX + 1), "{}", '{"endpoint": 1}'])
def test_what_is_no_token_is_refused(token: str) -> None:
    """Whatever the platform."""
    for platform in ("", "ios", "android"):
        with pytest.raises(Invalid) as refused:
            push_address(token, platform)
        assert refused.value.field == "pushToken"
