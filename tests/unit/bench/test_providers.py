"""The benchmarks' providers, as a process of their own, with the real gateways as their clients."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from bench.rig.peers import APNS_FORM, FCM_FORM, Book, Peer, books_of, chosen_peer, reset_books
from domain.deliveries.outcome import Accepted, Outcome
from domain.message import Content
from gateways.http2 import Http2Transport
from gateways.port import Gateway, Notice, Target
from gateways.registry import build
from gateways.transport import Answer, Request

MESSAGE = UUID(int=7)
FORMS = {"apns": APNS_FORM, "fcm": FCM_FORM}


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    options = argparse.Namespace(fakes="", sandbox=False)
    with chosen_peer(options, tmp_path_factory.mktemp("bench") / "peer") as peer:
        yield peer


@pytest.fixture(autouse=True)
def _new_books(peer: Peer) -> None:
    reset_books(peer)


@asynccontextmanager
async def gateway_to(peer: Peer, channel: str) -> AsyncIterator[Gateway]:
    config: dict[str, dict[str, Any]] = {
        "apns": {**peer.apns, "url": peer.apns_url, "ca_file": peer.ca_file},
        "fcm": {"credentials_info": peer.service_account, "url": peer.fcm_url, "ca_file": peer.ca_file},
    }
    gateway = build(channel, config[channel])
    try:
        yield gateway
    finally:
        await gateway.aclose()


async def send(gateway: Gateway, addresses: list[str]) -> list[Outcome]:
    notice = Notice(
        realm="main",
        message=MESSAGE,
        tid="offers",
        sender="shop",
        content=Content("20% off today only", "Sale"),
        urgency=3,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    targets = [Target(address, None, uuid5(MESSAGE, address)) for address in addresses]
    slices = [targets[at : at + gateway.slice_size] for at in range(0, len(targets), gateway.slice_size)]
    async with asyncio.TaskGroup() as group:
        sent = [group.create_task(gateway.send(notice, some, deadline_s=20.0)) for some in slices]
    return [outcome for task in sent for outcome in task.result()]


@pytest.mark.parametrize("channel", ["apns", "fcm"])
async def test_each_address_is_on_the_books_once(peer: Peer, channel: str) -> None:
    """More requests than streams: all are accepted, and the books have exactly these addresses, each once."""
    addresses = [FORMS[channel].format(n) for n in range(2_500)]
    async with gateway_to(peer, channel) as gateway:
        outcomes = await send(gateway, addresses)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    book = books_of(peer)[channel]
    assert (book.n, book.ok, book.uniq) == (2_500, 2_500, 2_500)
    assert book.fault(addresses) == ""


@pytest.mark.parametrize("channel", ["apns", "fcm"])
async def test_a_repeated_and_a_missing_address_are_told(peer: Peer, channel: str) -> None:
    """The books say which address was sent to twice, and which never was."""
    first, second, third = (FORMS[channel].format(n) for n in range(3))
    async with gateway_to(peer, channel) as gateway:
        await send(gateway, [first, second])
        await send(gateway, [second])
    book = books_of(peer)[channel]
    assert book.addresses == {first: 1, second: 2}
    fault = book.fault([first, second, third])
    assert f"missing ['{third}']" in fault
    assert f"twice ['{second}']" in fault
    assert "unknown" in book.fault([second])


@pytest.mark.parametrize(
    ("channel", "path", "body", "status"),
    [
        ("apns", b"/3/device/aa", b'{"aps":{}}', 403),
        ("fcm", b"/v1/projects/%s/messages:send", b'{"message":{"token":"aa"}}', 401),
    ],
)
async def test_without_credentials_nothing_is_accepted(
    peer: Peer, channel: str, path: bytes, body: bytes, status: int
) -> None:
    """A request without a token is refused, and on the books as one that was not accepted."""
    path = path.replace(b"%s", peer.service_account["project_id"].encode())
    transport = Http2Transport(peer.apns_url, ca_file=peer.ca_file)
    try:
        [refused] = await transport.post_many([Request(path, body)], deadline_s=10.0)
    finally:
        await transport.aclose()
    assert isinstance(refused, Answer)
    assert refused.status == status
    assert books_of(peer)[channel] == Book(n=1, addresses={})
    assert books_of(peer)[channel].fault([])


async def test_an_unreadable_payload_is_refused(peer: Peer) -> None:
    """A body that no device could show is not taken for a notification."""
    constants = ((b"authorization", b"bearer x"),)
    transport = Http2Transport(peer.apns_url, ca_file=peer.ca_file, constants=constants)
    bodies = (b"", b"{}", b'{"aps"', b'{"aps":{}}')
    try:
        answers = await transport.post_many(
            [Request(b"/3/device/aa", body) for body in bodies], deadline_s=10.0
        )
    finally:
        await transport.aclose()
    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [400, 400, 400, 200]


def test_totals_are_judged_where_a_peer_tells_no_addresses() -> None:
    """A program's books say how many requests and addresses; both must be what was wanted."""
    assert Book(n=2, ok=2, uniq=2).fault(["a", "b"]) == ""
    assert Book(n=3, ok=3, uniq=2).fault(["a", "b"])
    assert Book(n=2, ok=2, uniq=1).fault(["a", "b"])
    assert Book(n=3, ok=2, uniq=2).fault(["a", "b"])


def test_the_folder_of_keys_is_found_again(tmp_path: Path) -> None:
    """A second start in the same folder has the same authority, so that a prepared run can go on."""
    options = argparse.Namespace(fakes="", sandbox=False)
    seen = []
    for _ in range(2):
        with chosen_peer(options, tmp_path / "peer") as peer:
            seen.append((Path(peer.ca_file).read_bytes(), peer.apns))
    assert seen[0] == seen[1]
