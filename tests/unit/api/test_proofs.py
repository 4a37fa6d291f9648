"""What devices' headers have proved: remembered as long as it is so, and not a call longer."""

from __future__ import annotations

import pytest

from api.emarsys.proofs import Proof, Proofs, Said
from tests.memory.phone import APP, PROPERTIES, Phone, phones, started
from tests.memory.signing import MemorySigningKeys
from tests.unit.api.device_tokens import CONTACT_TOKEN, ES, HS, NOW_S, STATE, tokens_of

SAID: Said = (APP, b"device-1", b"state", b"contact")


def test_a_proof_holds_until_its_contact_token_ends() -> None:
    """To the second."""
    tokens, proofs = tokens_of(MemorySigningKeys(HS)), Proofs()
    contact = tokens.read_contact(tokens.sign_contact(CONTACT_TOKEN))
    proof = Proof(client_id="device-1", state=STATE, contact=contact)
    proofs.keep(tokens, SAID, proof)
    assert proofs.find(tokens, SAID, NOW_S) is proof
    assert proofs.find(tokens, SAID, contact.expires_at_s - 0.5) is proof
    assert proofs.find(tokens, SAID, contact.expires_at_s) is None


@pytest.mark.parametrize("other", [("X", *SAID[1:]), (APP, b"device-2", *SAID[2:]), (*SAID[:3], None)])
def test_a_proof_is_of_what_was_said_and_of_nothing_else(other: Said) -> None:
    """Another app, another client id, no contact token."""
    tokens, proofs = tokens_of(MemorySigningKeys(HS)), Proofs()
    proofs.keep(tokens, SAID, Proof(client_id="device-1", state=STATE))
    assert proofs.find(tokens, other, NOW_S) is None


def test_any_change_of_the_keys_ends_all_proofs() -> None:
    """It may be a revocation."""
    keys = MemorySigningKeys(HS)
    tokens, proofs = tokens_of(keys), Proofs()
    proofs.keep(tokens, SAID, Proof(client_id="device-1", state=STATE))
    keys.use(ES, HS)
    assert proofs.find(tokens, SAID, NOW_S) is None
    assert len(proofs) == 0


def test_the_memory_of_proofs_is_bounded() -> None:
    """The oldest goes first."""
    tokens, proofs = tokens_of(MemorySigningKeys(HS)), Proofs(proofs_max=3)
    said: list[Said] = [(APP, b"device-%d" % number, b"state", None) for number in range(5)]
    for each in said:
        proofs.keep(tokens, each, Proof(client_id="any", state=STATE))
    assert [proofs.find(tokens, each, NOW_S) is not None for each in said] == [False] * 2 + [True] * 3


async def test_a_device_that_was_let_in_is_looked_at_again_when_keys_change() -> None:
    """The same headers, a moment later: a removed key's are 401."""
    async with phones() as it:
        phone = await started(it)
        for _ in range(2):
            assert (await phone.call("POST", "/client/events", {})).status_code == 204
        assert len(it.parts.proofs) == 2, "with the contact token, and without"
        it.signing.use(ES)
        assert (await phone.call("POST", "/client/events", {})).status_code == 401


async def test_errors_have_the_devices_state_under_the_newest_key() -> None:
    """Native SDKs store it from any answer: who hears of nothing but errors is not left behind by a rotation."""
    async with phones() as it:
        phone = await started(it)
        former = phone.state
        it.signing.use(ES, *it.signing.current().verifying)
        for method, path, body in (
            ("PUT", "/client/push-token", {}),
            ("POST", "/client/contact", {}),
            ("POST", "/client/events", b"no JSON"),
            ("POST", "/client", b"[]"),
        ):
            phone.state = former
            got = await phone.call(method, path, body)
            assert got.status_code == 400
            assert phone.state != former
            assert it.parts.tokens.read_state(phone.state).client == it.parts.tokens.read_state(former).client
            assert phone.state.partition(".")[0] != former.partition(".")[0]


async def test_one_client_limits_errors_have_the_state_too() -> None:
    """429 as well."""
    async with phones() as it:
        phone = await started(it)
        for _ in range(130):
            got = await phone.call("POST", "/client", PROPERTIES)
        assert got.status_code == 429
        assert got.headers["x-client-state"] == phone.state


async def test_a_client_id_alone_is_remembered_for_nothing() -> None:
    """Whoever invents client ids pushes out no proof."""
    async with phones() as it:
        for number in range(5):
            await Phone(it, client_id=f"device-{number}").call("POST", "/client", PROPERTIES)
        assert len(it.parts.proofs) == 0
