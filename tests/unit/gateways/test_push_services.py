"""Push services beside each other: one that hangs costs the others some seconds once, and nobody's message."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from domain.deliveries.outcome import Accepted, Outcome, Retry, Unknown
from gateways.circuit import PATIENCE_S_MIN
from gateways.port import Gateway, Target
from gateways.registry import build
from gateways.webpush import SILENT
from tests.fixtures.certificates import Certificates
from tests.fixtures.h2_server import H2Server, serving
from tests.fixtures.notices import notice, target
from tests.integration.gateways.conftest import make_key

_POINT = ec.generate_private_key(ec.SECP256R1()).public_key()
KEYS = {
    "p256dh": urlsafe_b64encode(_POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).decode(),
    "auth": urlsafe_b64encode(bytes(16)).decode(),
}


def browsers(server: H2Server, verb: str, count: int) -> list[Target]:
    return [
        target(json.dumps({"endpoint": f"{server.url}/push/{verb}-{n}", "keys": KEYS})) for n in range(count)
    ]


@pytest.fixture
async def other(certificates: Certificates) -> AsyncIterator[H2Server]:
    async with serving(certificates.server("h2")) as server:
        yield server


@pytest.fixture
async def gateway(server: H2Server, other: H2Server, certificates: Certificates) -> AsyncIterator[Gateway]:
    hosts = [each.url.removeprefix("https://") for each in (server, other)]
    gateway = build(
        "webpush",
        {
            "vapid_private_key_pem": make_key(),
            "subject": "mailto:push@example.org",
            "allowed_hosts": hosts,
            "ca_file": certificates.ca_file,
        },
    )
    yield gateway
    await gateway.aclose()


async def send(gateway: Gateway, targets: Sequence[Target], slices: int) -> tuple[Counter[str], float]:
    """So many slices, four at a time, as the pages of a lane are. What they came to, and how long it took."""
    came: Counter[str] = Counter()
    left = iter(range(slices))

    async def work() -> None:
        for _ in left:
            outcomes = await gateway.send(notice(), targets, deadline_s=20.0)
            assert len(outcomes) == len(targets)
            came.update(map(name, outcomes))

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(work())
    return came, time.monotonic() - began


def name(outcome: Outcome) -> str:
    return outcome.code if isinstance(outcome, Retry) else type(outcome).__name__


async def test_a_service_that_hangs_holds_up_no_other(
    gateway: Gateway, server: H2Server, other: H2Server
) -> None:
    """After some seconds the pace to the other is what it was; nothing is lost, the silent one gets nothing more."""
    good, hanging = browsers(server, "ok", 20), browsers(other, "hang", 5)
    await send(gateway, good, 4)
    came, alone_s = await send(gateway, good, 40)
    assert came == {"Accepted": 800}
    with capture_logs() as logs:
        came, first_s = await send(gateway, [*hanging, *good], 4)
    assert came == {"Accepted": 80, "Unknown": 20}
    assert first_s < PATIENCE_S_MIN + 1.0
    assert [each["event"] for each in logs] == ["push_service_silent"]
    asked = len(other.requests)
    came, beside_s = await send(gateway, [*hanging, *good], 40)
    assert came == {"Accepted": 800, SILENT: 200}
    assert beside_s < alone_s * 3 + 0.5
    assert len(other.requests) == asked


async def test_a_service_that_cannot_be_reached_holds_up_nobody(
    gateway: Gateway, server: H2Server, other: H2Server
) -> None:
    """It is asked each time, since it says so at once; the others have their answers."""
    good, cut = browsers(server, "ok", 3), browsers(other, "cut", 1)
    for _ in range(3):
        outcomes = await gateway.send(notice(), [*cut, *good], deadline_s=5.0)
        assert [type(outcome) for outcome in outcomes] == [Unknown, Accepted, Accepted, Accepted]
    assert len(other.requests) == 3
