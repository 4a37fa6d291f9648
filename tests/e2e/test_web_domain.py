"""A web domain on a running exchange: registered, sent to, reported by link, counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fixtures.served import ROOT, Served, served
from tests.unit.doppler.shop import DOMAIN, KEY, MESSAGE, su

AT_ONCE = 32
"""Browsers registering at a time."""
COMMAND_S_MAX = 90
SPAN = {"from": "2020-01-01", "to": "2090-01-01"}


@pytest.mark.parametrize(
    "contacts", [20, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(400)])]
)
def test_a_message_reaches_every_push_contact_of_a_domain(tmp_path: Path, contacts: int) -> None:
    """Each push contact gets it once at the sandbox; the figures say so, also after a kill and after a rebuild."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "superusers.pem").write_bytes(pem)
    with served(tmp_path, MSGXC_DOPPLER_KEYS=str(tmp_path / "superusers.pem")) as it:
        ask(it, "PUT", f"/domains/{DOMAIN}", {"isPushFeatureEnabled": True})
        asyncio.run(register(it, contacts))
        mid = ask(it, "POST", f"/messages/domains/{DOMAIN}", MESSAGE)["messageId"]
        expected = {"sent": contacts, "delivered": contacts, "billableSends": contacts}
        it.until(lambda: figures(it, mid) == expected, 120)
        arrived = reached(it)
        assert (len(arrived), len(set(arrived))) == (contacts, contacts)
        it.kill()
        it.start()
        assert figures(it, mid) == expected
        rebuild(it, "statistics", "push_contacts")
        assert figures(it, mid) == expected
        counted = ask(it, "GET", f"/domains/{DOMAIN}/stats")["contactsStats"]
        assert counted == {"deleted": 0, "active": contacts, "total": contacts}


def ask(it: Served, method: str, path: str, body: Any = None, **query: str) -> Any:
    got = it.http.request(method, path, json=body, headers=su(), params=query)
    assert got.status_code < 300, got.text
    return got.json() if got.content else None


async def register(it: Served, contacts: int) -> None:
    """Each with a token that the sandbox takes."""
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    numbers = iter(range(contacts))

    async def some(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            minted = await post(session, "/sandbox/devices", {"os": "android"})
            said = {"domain": DOMAIN, "deviceToken": minted["token"], "visitorGuid": f"v-{number:05d}"}
            await post(session, "/push-contacts", said)

    async with (
        aiohttp.ClientSession(str(it.http.base_url), connector=connector) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_ONCE):
            group.create_task(some(session))


async def post(session: aiohttp.ClientSession, path: str, body: Any) -> Any:
    async with session.post(path, json=body) as got:
        content = await got.read()
        assert got.status < 300, content
    return msgspec.json.decode(content) if content else None


def figures(it: Served, mid: str) -> dict[str, int]:
    found = ask(it, "GET", f"/domains/{DOMAIN}/messages/{mid}/stats", **SPAN)
    return {name: value for name, value in found.items() if isinstance(value, int) and value}


def reached(it: Served) -> list[str]:
    """The tokens that the sandbox's phones show the message at, checks at registration left out."""
    found: list[str] = []
    after = 0
    while items := it.http.get("/sandbox/messages", params={"after": after, "limit": 5_000}).json()["items"]:
        found += [item["address"] for item in items if item["note"] != "validate_only"]
        after = max(item["id"] for item in items)
    return found


def rebuild(it: Served, *projections: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "projections", "rebuild", *projections],
        cwd=ROOT,
        env=it.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
