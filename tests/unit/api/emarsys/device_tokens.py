"""A client state and a contact token, and a key of each algorithm, for tests of both."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.emarsys.identity.tokens import (
    ClientState,
    ContactField,
    ContactToken,
    Tokens,
)
from tests.memory.ports.signing import MemorySigningKeys, signing_key

NOW_S = 1_800_000_000.0
CLIENT, CONTACT = UUID("1b4e28ba-2fa1-81d2-883f-0016d3cca427"), UUID("6fa459ea-ee8a-8ca4-894e-db77e160355e")
P256, ED25519 = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
STATE = ClientState(
    client=CLIENT,
    client_id="device-1",
    app="EMS11-12345",
    properties={"platform": "android", "pushSettings": {"importance": 3}},
    has_push_token=True,
    contact_field=ContactField(id=3, value="ann@example.org"),
    contact=CONTACT,
    contact_id=42,
)
CONTACT_TOKEN = ContactToken(contact=CONTACT, realm="shop", contact_id=42, client=CLIENT)


def pem(private: Any) -> bytes:
    made: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made


HS, ES, ED = signing_key("hs"), signing_key("es", pem(P256)), signing_key("ed", pem(ED25519))


def tokens_of(keys: MemorySigningKeys, now_s: Callable[[], float] = lambda: NOW_S) -> Tokens:
    return Tokens(keys, now_s=now_s)


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
