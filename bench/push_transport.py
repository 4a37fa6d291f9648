"""Push gateways: sends a second and CPU time of each, with aioapns as the reference in the same run.

    .venv/bin/python bench/push_transport.py                         # against the light stand-in, rig/providers.py
    .venv/bin/python bench/push_transport.py --sandbox               # against the project's sandbox, which checks all
    .venv/bin/python bench/push_transport.py --fakes BINARY          # against `BINARY gencert|serve`
    .venv/bin/python bench/push_transport.py --url https://localhost:8443 --ca-file ca.pem --folder certs

What is timed is whole sends: rendering, requests, answers, outcomes. The peer runs in a process of its own; on two
shared cores its speed is part of the result, so look at the CPU time and at the ratio first. --folder: where --url's
apns.p8 and fcm-sa.json are.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.rig.machine import machine  # noqa: E402  after the path is set
from bench.rig.peers import APNS_FORM, FCM_FORM, Peer, chosen_peer, offer_peers, peer_of  # noqa: E402
from domain.deliveries.outcome import Accepted  # noqa: E402
from domain.message import Content  # noqa: E402
from gateways.port import Gateway, Notice, Target  # noqa: E402
from gateways.registry import build  # noqa: E402

SENDS_MAX = 200_000
AT_ONCE = 4
"""Slices under way together, as a gateway process has them."""
MESSAGE = UUID(int=7)


@dataclass(frozen=True)
class Figures:
    name: str
    per_second: float
    cpu_us: float


def notice() -> Notice:
    content = Content("20% off today only", "Sale", {"data": {"k": "v"}})
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    return Notice(
        realm="main",
        message=MESSAGE,
        tid="offers",
        sender="shop",
        content=content,
        urgency=3,
        expires_at=expires_at,
    )


def targets(count: int, form: str) -> list[Target]:
    return [Target(form.format(n), None, uuid5(MESSAGE, str(n))) for n in range(count)]


async def timed(name: str, count: int, send: Callable[[], Awaitable[int]]) -> Figures:
    wall, cpu = time.perf_counter(), time.process_time()
    accepted = await send()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if accepted != count:
        raise SystemExit(f"{name}: {accepted} of {count} accepted")
    return Figures(name, count / wall, cpu / count * 1e6)


async def through(gateway: Gateway, addresses: list[Target]) -> int:
    """All of it in slices, a few at once."""
    slices = iter(range(0, len(addresses), gateway.slice_size))
    message, accepted = notice(), 0

    async def work() -> None:
        nonlocal accepted
        for first in slices:
            some = addresses[first : first + gateway.slice_size]
            outcomes = await gateway.send(message, some, deadline_s=60.0)
            accepted += sum(isinstance(outcome, Accepted) for outcome in outcomes)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return accepted


async def through_aioapns(peer: Peer, addresses: list[Target]) -> int:
    """As its documentation shows: one task for each notification."""
    from aioapns import APNs, NotificationRequest
    from aioapns.connection import APNsProductionClientProtocol

    host, _, port = peer.apns_url.removeprefix("https://").partition(":")
    tls = ssl.create_default_context(cafile=peer.ca_file)
    tls.set_alpn_protocols(["h2"])
    client = APNs(
        key=peer.apns["key_pem"],
        key_id=peer.apns["key_id"],
        team_id=peer.apns["team_id"],
        topic=peer.apns["topic"],
        max_connections=1,
        ssl_context=tls,
    )
    place = {"APNS_SERVER": host, "APNS_PORT": int(port or 443)}
    client.pool.protocol_class = type("Here", (APNsProductionClientProtocol,), place)
    payload = {
        "aps": {"alert": {"title": "Sale", "body": "20% off today only"}, "sound": "ping.aiff"},
        "k": "v",
    }

    async def one(target: Target) -> bool:
        answer = await client.send_notification(NotificationRequest(target.address, payload))
        return bool(answer.is_successful)

    return sum(await asyncio.gather(*(one(target) for target in addresses)))


async def measure(peer: Peer, count: int, rounds: int) -> list[Figures]:
    runs = {
        "apns": (build("apns", apns_config(peer)), targets(count, APNS_FORM)),
        "fcm": (build("fcm", fcm_config(peer)), targets(count, FCM_FORM)),
        "webpush": (build("webpush", webpush_config(peer)), browsers(peer, count // 4)),
    }
    best: dict[str, Figures] = {}
    try:
        for name, (gateway, addresses) in runs.items():
            await through(gateway, addresses[:100])  # connected, tokens fetched
            for _ in range(rounds):
                sending = partial(through, gateway, addresses)
                keep(best, await timed(name, len(addresses), sending))
        some = targets(max(1, count // 10), APNS_FORM)
        keep(best, await timed("aioapns", len(some), lambda: through_aioapns(peer, some)))
    finally:
        for gateway, _ in runs.values():
            await gateway.aclose()
    return list(best.values())


def apns_config(peer: Peer) -> dict[str, Any]:
    return {**peer.apns, "url": peer.apns_url, "ca_file": peer.ca_file}


def fcm_config(peer: Peer) -> dict[str, Any]:
    return {"credentials_info": peer.service_account, "url": peer.fcm_url, "ca_file": peer.ca_file}


def webpush_config(peer: Peer) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    return {
        "vapid_private_key_pem": key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        "subject": "mailto:bench@example.org",
        "allowed_hosts": [peer.webpush_url.removeprefix("https://")],
        "ca_file": peer.ca_file,
    }


def browsers(peer: Peer, count: int) -> list[Target]:
    """Subscriptions with keys of their own; a peer that cannot decrypt takes them as well."""
    form = '{{"endpoint":"{}/push/{}","keys":{{"p256dh":"{}","auth":"AAAAAAAAAAAAAAAAAAAAAA"}}}}'
    made = []
    for n in range(count):
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        point = urlsafe_b64encode(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).decode()
        made.append(Target(form.format(peer.webpush_url, n, point), None, uuid5(MESSAGE, str(n))))
    return made


def keep(best: dict[str, Figures], figures: Figures) -> None:
    known = best.get(figures.name)
    if known is None or figures.cpu_us < known.cpu_us:
        best[figures.name] = figures


@contextmanager
def chosen(options: argparse.Namespace, folder: Path) -> Iterator[Peer]:
    if options.url:
        yield peer_of(options.url, Path(options.ca_file), Path(options.folder))
        return
    with chosen_peer(options, folder) as peer:
        yield peer


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, chosen(options, Path(folder)) as peer:
        found = await measure(peer, min(options.count, SENDS_MAX), options.rounds)
    reference = found[-1]
    print(f"machine: {machine()}; {options.count} each")
    for figures in found:
        ratio = reference.cpu_us / figures.cpu_us
        print(
            f"{figures.name:8} {figures.per_second:9,.0f} sends/s {figures.cpu_us:8.1f} us CPU each"
            f"   {ratio:5.1f} times less than aioapns"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many is shown")
    offer_peers(parser)
    parser.add_argument("--url", default="", help="a peer that already runs")
    parser.add_argument("--ca-file", default="")
    parser.add_argument("--folder", default="")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(arguments()))
