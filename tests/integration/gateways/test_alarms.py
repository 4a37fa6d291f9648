"""Which answers call for people: what is our own fault does, at once; what is a recipient's or will pass does not."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from infra.figures.gateway import SENDS_MIN, GatewayFigures
from infra.sandbox import Respond
from tests.integration.gateways.conftest import Providers, Send

CHANNEL = {"sendgrid": "email", "smtp": "email"}
BAD_FIELD = json.dumps(
    {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Invalid value at 'message.data'"}}
)
NO_TOKEN = json.dumps(
    {
        "error": {
            "code": 400,
            "status": "INVALID_ARGUMENT",
            "message": "The registration token is not a valid FCM registration token",
        }
    }
)


async def alarms(provider: str, action: Respond, providers: Providers, send: Send) -> list[tuple[str, str]]:
    """Events and codes that one such answer leaves in the log, beside as many good ones as a share is told of."""
    targets = await providers.targets(provider)
    providers.tell(provider, action, *targets)
    outcomes = await send(provider, targets)
    with capture_logs() as logs:
        GatewayFigures().noting(CHANNEL.get(provider, provider))(outcomes)
    return [(each["event"], each["code"]) for each in logs]


@pytest.mark.parametrize(
    ("provider", "action", "code"),
    [
        ("apns", Respond(413, "PayloadTooLarge"), "PayloadTooLarge"),
        ("apns", Respond(400, "PayloadEmpty"), "PayloadEmpty"),
        ("apns", Respond(400, "BadPayload"), "BadPayload"),
        ("fcm", Respond(400, body=BAD_FIELD), "INVALID_ARGUMENT"),
        ("fcm", Respond(413, body=""), "413"),
        ("webpush", Respond(413, "too large"), "413"),
        ("webpush", Respond(301, body="", headers={"location": "https://127.0.0.1:1/"}), "301"),
        ("sms", Respond(400, "21617"), "21617"),
        ("sendgrid", Respond(400, "no good"), "400"),
    ],
)
async def test_what_is_our_fault(
    provider: str, action: Respond, code: str, providers: Providers, send: Send
) -> None:
    """An error in the log with the provider's code, from the first one on."""
    assert await alarms(provider, action, providers, send) == [("messages_refused", code)]


@pytest.mark.parametrize(
    ("provider", "action"),
    [
        ("apns", Respond(200)),
        ("apns", Respond(410, "Unregistered")),
        ("apns", Respond(400, "BadDeviceToken")),
        ("apns", Respond(429, "TooManyRequests")),
        ("apns", Respond(503, "ServiceUnavailable")),
        ("fcm", Respond(404, "UNREGISTERED")),
        ("fcm", Respond(400, body=NO_TOKEN)),
        ("fcm", Respond(429, "QUOTA_EXCEEDED")),
        ("webpush", Respond(410, "gone")),
        ("webpush", Respond(404, "gone")),
        ("webpush", Respond(429, "slow")),
        ("sms", Respond(400, "21610")),
        ("sms", Respond(400, "21211")),
        ("sms", Respond(400, "21612")),
        ("sms", Respond(500, "20500")),
        ("sendgrid", Respond(429)),
        ("smtp", Respond(554, "5.7.1 Spam")),
        ("smtp", Respond(550, "5.1.1 No such user")),
    ],
)
async def test_what_is_not(provider: str, action: Respond, providers: Providers, send: Send) -> None:
    """One person's old phone wakes nobody up."""
    assert await alarms(provider, action, providers, send) == []


async def test_addresses_of_another_topic(providers: Providers, send: Send) -> None:
    """One in a hundred is one too many: then it is the environment or the topic."""
    devices = await providers.targets("apns", SENDS_MIN)
    providers.tell("apns", Respond(400, "BadDeviceToken"), *devices[: SENDS_MIN // 100 + 1])
    outcomes = await send("apns", devices)
    figures, registry = GatewayFigures(), CollectorRegistry()
    registry.register(figures)
    with capture_logs() as logs:
        figures.noting("apns")(outcomes)
    assert [(each["event"], each["log_level"]) for each in logs] == [("addresses_doubted", "critical")]
    assert registry.get_sample_value("msgxc_gateway_doubted_share", {"channel": "apns"}) == 0.015
