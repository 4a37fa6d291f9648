"""The VAPID key pair of each web domain: made from a secret of its own in the key store.

A browser subscribes to one key for ever, so a domain's key never changes; losing the secret loses its subscribers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from commands.port import KeyStore
from gateways.keys.es256 import base64

PAIRS_MAX: Final = 2_000
"""Key pairs remembered, half a kilobyte each; making one takes a tenth of a millisecond and a look in the key store."""
_SEED_BYTES: Final = 48
"""So many more than the order has that no scalar is likelier than another (FIPS 186-5, A.2.1)."""
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2, 2.4.2)."""


class DerivedVapidKeys:
    """gateways.port.VapidKeys."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._pairs: OrderedDict[UUID, tuple[str, str]] = OrderedDict()

    async def public_key(self, app: UUID) -> str:
        return (await self._pair(app))[1]

    async def private_key_pem(self, app: UUID) -> str:
        return (await self._pair(app))[0]

    async def _pair(self, app: UUID) -> tuple[str, str]:
        if app not in self._pairs:
            secret = await self._keys.key(f"vapid.{app.hex}", create=True)
            if secret is None:
                raise ValueError("the domain's key was destroyed, and its subscribers with it")
            self._pairs[app] = pair_of(secret, app)
            if len(self._pairs) > PAIRS_MAX:
                self._pairs.popitem(last=False)
        self._pairs.move_to_end(app)
        return self._pairs[app]


def pair_of(secret: bytes, app: UUID) -> tuple[str, str]:
    """(private key, PEM; public key as browsers take it: the point, base64url)."""
    derived = HKDF(hashes.SHA256(), _SEED_BYTES, salt=None, info=b"msgxc vapid p-256|" + app.bytes)
    scalar = int.from_bytes(derived.derive(secret)) % (_ORDER - 1) + 1
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return pem, base64(point)
