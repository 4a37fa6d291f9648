"""A web domain on a running exchange: registered, sent to, reported by link, counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fixtures.served import served
from tests.unit.doppler.shop import DOMAIN, KEY, MESSAGE, su

AT_ONCE = 16
"""Browsers registering at a time."""
SPAN = {"from": "2020-01-01", "to": "2090-01-01"}


@pytest.mark.parametrize(
    "contacts", [20, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_a_message_reaches_every_push_contact_of_a_domain(tmp_path: Path, contacts: int) -> None:
    """Each push contact gets it once at the sandbox, and the figures say so, also after a restart."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "superusers.pem").write_bytes(pem)
    with served(tmp_path, MSGXC_DOPPLER_KEYS=str(tmp_path / "superusers.pem")) as it:

        def ask(method: str, path: str, body: Any = None, **query: str) -> Any:
            got = it.http.request(method, path, json=body, headers=su(), params=query)
            assert got.status_code < 300, got.text
            return got.json() if got.content else None

        ask("PUT", f"/domains/{DOMAIN}", {"isPushFeatureEnabled": True})

        def register(number: int) -> None:
            said = {"domain": DOMAIN, "deviceToken": minted(it), "visitorGuid": f"v-{number:05d}"}
            ask("POST", "/push-contacts", said)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(register, range(contacts)))
        mid = ask("POST", f"/messages/domains/{DOMAIN}", MESSAGE)["messageId"]

        def figures() -> dict[str, int]:
            found = ask("GET", f"/domains/{DOMAIN}/messages/{mid}/stats", **SPAN)
            return {name: value for name, value in found.items() if isinstance(value, int) and value}

        expected = {"sent": contacts, "delivered": contacts, "billableSends": contacts}
        it.until(lambda: figures() == expected, 120)
        it.kill()
        it.start()
        assert figures() == expected
        counted = ask("GET", f"/domains/{DOMAIN}/stats")["contactsStats"]
        assert counted == {"deleted": 0, "active": contacts, "total": contacts}


def minted(it: Any) -> str:
    """A token that the sandbox takes."""
    got = it.http.post("/sandbox/devices", json={"os": "android"})
    assert got.status_code < 300, got.text
    token: str = got.json()["token"]
    return token
