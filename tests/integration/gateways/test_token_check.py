"""Whether FCM knows a token: asked when a push contact registers, by a message that is not sent."""

from __future__ import annotations

import time

import pytest

from gateways.fcm import FcmGateway
from gateways.port import Gateway
from infra.sandbox import Hang, Reset, Respond
from tests.integration.gateways.conftest import Providers

DEADLINE_S = 0.6
OVER_S = 1.0


@pytest.fixture
def fcm(gateways: dict[str, Gateway]) -> FcmGateway:
    found = gateways["fcm"]
    assert isinstance(found, FcmGateway)
    return found


async def test_a_token_that_is_known_is_good_and_nothing_is_shown(
    providers: Providers, fcm: FcmGateway
) -> None:
    """FCM is asked to validate only: it says that the token is good, and the device gets nothing."""
    token = await providers.address("fcm")
    assert await fcm.is_good(token, deadline_s=5.0) is True
    [asked] = await providers.books.find("address = ?", (token,))
    assert asked.note == "validate_only"


@pytest.mark.parametrize("token", ["ab", "with space", "x" * 4_097, "é😀", '"}'])
async def test_what_is_no_token_is_not(providers: Providers, fcm: FcmGateway, token: str) -> None:
    """Whatever a page may send in a token's place is no good one."""
    assert await fcm.is_good(token, deadline_s=5.0) is False


async def test_a_token_that_was_given_up_is_not(providers: Providers, fcm: FcmGateway) -> None:
    """Its app was removed from the device."""
    token = await providers.address("fcm")
    providers.rules.add("fcm", Respond(404, "UNREGISTERED"), exact=token)
    assert await fcm.is_good(token, deadline_s=5.0) is False


@pytest.mark.parametrize(
    "trouble",
    [
        Respond(500, "INTERNAL"),
        Respond(503, "UNAVAILABLE"),
        Respond(429, "QUOTA_EXCEEDED"),
        Respond(403, "SENDER_ID_MISMATCH"),
        Respond(502, body="<html>bad gateway"),
        Reset(connection=True),
        Hang(processed=True),
    ],
)
async def test_a_provider_in_trouble_says_nothing_of_a_token(
    providers: Providers, fcm: FcmGateway, trouble: Respond | Reset | Hang
) -> None:
    """Neither good nor bad, and within the deadline: the caller takes the token, and its first send shows."""
    token = await providers.address("fcm")
    providers.rules.add("fcm", trouble, exact=token)
    started = time.monotonic()
    assert await fcm.is_good(token, deadline_s=DEADLINE_S) is None
    assert time.monotonic() - started < DEADLINE_S + OVER_S
    assert await fcm.is_good(token, deadline_s=5.0) is True


async def test_a_provider_that_is_not_there_says_nothing_of_a_token(providers: Providers) -> None:
    """Neither at the first token of OAuth, nor without anybody listening."""
    gateway = providers.gateway("fcm", url="https://127.0.0.1:9")
    assert isinstance(gateway, FcmGateway)
    try:
        assert await gateway.is_good("any", deadline_s=DEADLINE_S) is None
    finally:
        await gateway.aclose()
