"""Devices' tokens: processor time to sign and to read each, by algorithm, beside PyJWT doing the same.

    .venv/bin/python bench/tokens.py

A client state of an Android phone with two notification channels, and a contact token. "again" is a token that was
read before. What is printed is the best of several rounds, in microseconds of CPU: others use the machine, too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from api.emarsys.identity.tokens import ClientState, ContactField, ContactToken, Tokens
from infra.signing.environment import FixedSigningKeys

ROUNDS, CALLS = 30, 100
ID = UUID(int=2**120 + 7)
CHANNEL = {"channelId": "news", "importance": 3, "canShowBadge": True, "canBypassDnd": False}
STATE = ClientState(
    client=ID,
    client_id="5f2a1c9e-6a0e-4f7e-9d43-0a4f4b8f7c11",
    app="EMS11-12345",
    properties={
        "platform": "android",
        "applicationVersion": "2.3.1",
        "deviceModel": "Pixel 8",
        "osVersion": "14",
        "sdkVersion": "3.7.6",
        "language": "en-US",
        "timezone": "+0200",
        "pushSettings": {"areNotificationsEnabled": True, "importance": 3, "channelSettings": [CHANNEL] * 2},
    },
    has_push_token=True,
    contact_field=ContactField(id=3, value="ann@example.org"),
    contact=ID,
    contact_id=123_456_789,
)
CONTACT = ContactToken(contact=ID, realm="shop", contact_id=123_456_789, client=ID)


def pem(private: Any) -> str:
    made: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


def best_us(call: Callable[[], object]) -> float:
    """CPU time of one call."""
    return min(_us(call) for _ in range(ROUNDS))


def best_unseen_us(sign: Callable[[], str], read: Callable[[str], object]) -> float:
    """CPU time of reading one token that was not read before."""
    return min(_us(partial(read, token) for token in [sign() for _ in range(CALLS)]) for _ in range(ROUNDS))


def _us(calls: Callable[[], object] | Iterable[Callable[[], object]]) -> float:
    each = repeat(calls, CALLS) if callable(calls) else list(calls)
    began = time.process_time_ns()
    for call in each:
        call()
    return (time.process_time_ns() - began) / CALLS / 1_000


def measure(name: str, content: str) -> list[str]:
    # Each token says another second, so that none is like another.
    clock = count(1_800_000_000)
    tokens = Tokens(FixedSigningKeys(content), now_s=lambda: float(next(clock)))
    state, contact = tokens.sign_state(STATE), tokens.sign_contact(CONTACT)

    def sign_contact() -> str:
        return tokens.sign_contact(CONTACT)

    return [
        name,
        f"{best_us(lambda: tokens.sign_state(STATE)):.1f}",
        f"{best_unseen_us(lambda: tokens.sign_state(STATE), tokens.read_state):.1f}",
        f"{best_us(lambda: tokens.sign_state(STATE, held=state)):.1f}",
        f"{best_us(lambda: tokens.read_state(state)):.1f}",
        f"{best_us(sign_contact):.1f}",
        f"{best_unseen_us(sign_contact, tokens.read_contact):.1f}",
        f"{len(state)}, {len(contact)}",
    ]


def by_pyjwt(algorithm: str, key: Any, verifier: Any) -> list[str]:
    """What the same costs with the library that signs by its own rules."""
    tokens = Tokens(FixedSigningKeys("ab" * 32), now_s=time.time)
    signed = tokens.sign_state(STATE), tokens.sign_contact(CONTACT)
    state, contact = (jwt.decode(each, options={"verify_signature": False}) for each in signed)
    made = [
        jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k" * 24}) for claims in (state, contact)
    ]
    return [
        f"{algorithm} by PyJWT",
        f"{best_us(lambda: jwt.encode(state, key, algorithm=algorithm)):.1f}",
        f"{best_us(lambda: jwt.decode(made[0], verifier, algorithms=[algorithm])):.1f}",
        "",
        "",
        f"{best_us(lambda: jwt.encode(contact, key, algorithm=algorithm)):.1f}",
        f"{best_us(lambda: jwt.decode(made[1], verifier, algorithms=[algorithm])):.1f}",
        "",
    ]


def main() -> None:
    p256, ed = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    secret = os.urandom(32)
    rows = [
        [
            "µs of CPU",
            "sign state",
            "read state",
            "keep held",
            "again",
            "sign contact",
            "read contact",
            "bytes",
        ],
        measure("HS256", secret.hex()),
        measure("ES256", pem(p256)),
        measure("EdDSA", pem(ed)),
        by_pyjwt("HS256", secret, secret),
        by_pyjwt("ES256", p256, p256.public_key()),
    ]
    for row in rows:
        print("  ".join(f"{cell:>14}" for cell in row))


if __name__ == "__main__":
    main()
