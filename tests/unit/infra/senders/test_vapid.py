"""Web domains' VAPID keys: the same for ever, different from one another, and keys that sign."""

from __future__ import annotations

from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateways.keys.es256 import unbase64
from infra.senders.vapid import DerivedVapidKeys, pair_of
from tests.memory.ports.keys import MemoryKeyStore, Vault

APP = UUID(int=7)


async def test_a_domains_key_is_the_same_in_every_process() -> None:
    """And another domain's is another."""
    vault = Vault()
    here, there = DerivedVapidKeys(MemoryKeyStore(vault)), DerivedVapidKeys(MemoryKeyStore(vault))
    assert await here.public_key(APP) == await there.public_key(APP) == await here.public_key(APP)
    assert await here.private_key_pem(APP) == await there.private_key_pem(APP)
    assert await here.public_key(uuid4()) != await here.public_key(APP)


async def test_another_key_store_makes_another_key() -> None:
    """Nothing of it follows from the domain's name."""
    one, other = DerivedVapidKeys(MemoryKeyStore(Vault())), DerivedVapidKeys(MemoryKeyStore(Vault()))
    assert await one.public_key(APP) != await other.public_key(APP)


async def test_a_destroyed_key_is_not_made_anew() -> None:
    """Its subscribers could not be told from those of the new one."""
    keys = MemoryKeyStore(Vault())
    await DerivedVapidKeys(keys).public_key(APP)
    await keys.destroy(f"vapid.{APP.hex}")
    with pytest.raises(ValueError, match="destroyed"):
        await DerivedVapidKeys(keys).public_key(APP)


def test_the_pair_belongs_together() -> None:
    """What browsers are given is the public half of what signs: an uncompressed point on P-256."""
    pem, public = pair_of(bytes(32), APP)
    point = unbase64(public)
    assert (len(public), len(point), point[0]) == (87, 65, 4)
    private = load_pem_private_key(pem.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    signed = jwt.encode({"aud": "https://push.example"}, private, algorithm="ES256")
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    assert jwt.decode(signed, theirs, algorithms=["ES256"], audience="https://push.example")


def test_the_derivation_never_changes() -> None:
    """Browsers out there have subscribed to what it gave."""
    assert pair_of(bytes(range(32)), APP)[1] == (
        "BH9P1OqVglaK9mNExpV4FfLl_fpRKOVL5LABWaVE6mDs1hLR9ORH9qTlGAnVgYtDHaOpiS8hMu92pdnxI_zrJIs"
    )
