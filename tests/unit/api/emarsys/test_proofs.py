"""What devices' headers have proved: remembered as long as it is so, and not a call longer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.emarsys.identity.proofs import ASK_AGAIN_S, Proof, Proofs, Said
from tests.memory.phone import ANN, APP, PROPERTIES, V3_NAMES, Phone, phones, started
from tests.memory.ports.signing import MemorySigningKeys
from tests.unit.api.emarsys.device_tokens import CONTACT_TOKEN, ES, HS, NOW_S, STATE, tokens_of

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


def test_the_memory_of_who_was_asked_is_bounded() -> None:
    """The oldest goes first; who is asked again counts as new."""
    proofs = Proofs(asked_max=2)
    assert [proofs.asks_anew(each, 0) for each in (b"a", b"b", b"a", b"b")] == [True, True, False, False]
    assert proofs.asks_anew(b"a", ASK_AGAIN_S)
    assert proofs.asks_anew(b"c", ASK_AGAIN_S)
    assert [proofs.asks_anew(each, ASK_AGAIN_S) for each in (b"a", b"c", b"b")] == [False, False, True]


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


@pytest.mark.parametrize("base", ["/v3/apps", "/v4/apps"])
async def test_who_has_the_state_is_not_given_it_back_by_calls_that_change_nothing(base: str) -> None:
    """Neither by reads, nor by events, nor by errors, 429 among them: such an answer may be slow, and native SDKs store
    what any answer says, so that it would undo a sign-in of the meantime.
    """
    async with phones() as it:
        phone = await started(it, base=base)
        name = "ec-client-state" if phone.is_v4 else "x-client-state"
        embedded = "/embedded-messaging/api/v1"
        answers = [
            await told(phone, method, f"{at}/{APP}{path}", body)
            for at, method, path, body in (
                (embedded if phone.is_v4 else base, "GET", "/meta" if phone.is_v4 else "/geo-fences", None),
                (embedded if phone.is_v4 else base, "GET", "/badge-count" if phone.is_v4 else "/inbox", None),
                (
                    "/v5/apps" if phone.is_v4 else "/v4/apps",
                    "POST",
                    "/inline-messages",
                    {"viewIds": ["home"]},
                ),
                ("/v5/apps" if phone.is_v4 else "/v4/apps", "POST", "/client/events", STARTED),
                (base, "PUT", "/client/push-token", {}),
            )
        ]
        limited = await phone.call("POST", "/client", PROPERTIES)
        for _ in range(2 * 130):  # the window may end meanwhile, once
            if limited.status_code == 429:
                break
            limited = await phone.call("POST", "/client", PROPERTIES)
        assert limited.status_code == 429
        assert [got.status_code for got in answers] == [200, 200, 200, 204, 400]
        assert [got.headers.get(name) for got in (*answers, limited)] == [None] * 6


STARTED = {"events": [{"type": "internal", "name": "session:start", "timestamp": "2026-01-02T03:04:05Z"}]}


async def told(phone: Phone, method: str, path: str, body: Any = None) -> httpx.Response:
    """The answer to a call as the phone makes it; what it holds stays as it is."""
    names = ("ec-client-id", "ec-client-state", "ec-contact") if phone.is_v4 else V3_NAMES
    held = zip(names, (phone.client_id, phone.state, phone.contact_token), strict=True)
    headers = {name: value for name, value in held if value}
    return await phone.it.call(method, path, body, by=None, headers=headers)


async def test_a_start_tells_the_device_what_has_changed_without_it() -> None:
    """Its contact's number, which was looked up since, and that its push token is another's: once. Events of other
    kinds are not held up for it.
    """
    async with phones() as it:
        for role in ("resolver", "contact-id-writer", "taken-tokens"):
            it.world.start(role)
        phone, other = await started(it), await started(it, client_id="device-2")
        for each in (phone, other):
            await each.call("PUT", "/client/push-token", {"pushToken": "aa11"})
        await phone.call("POST", "/client/contact", ANN)
        await it.settled()
        path, bought = (
            f"/v4/apps/{APP}/client/events",
            {"events": [{**STARTED["events"][0], "name": "bought"}]},
        )
        assert "x-client-state" not in (await told(phone, "POST", path, bought)).headers
        assert "contactId" not in phone.says
        await phone.call("POST", "/client/events", STARTED)
        assert isinstance(phone.says["contactId"], int)
        assert phone.says.get("pushToken") is None
        assert phone.says["contactField"]["contactFieldValue"] == ANN["contactFieldValue"]
        assert "x-client-state" not in (await told(phone, "POST", path, STARTED)).headers


async def test_events_of_a_device_that_has_lost_its_state_give_it_one() -> None:
    """Its contact token has said which client it is."""
    async with phones() as it:
        phone = await started(it)
        before, phone.state = phone.says, ""
        assert (await phone.call("POST", "/client/events", {})).status_code == 204
        assert phone.says == before


async def test_a_state_that_has_no_room_for_all_properties_is_not_given_back_either() -> None:
    """What it leaves out is no news."""
    async with phones() as it:
        phone = Phone(it)
        await phone.call("POST", "/client", {"platform": "ios", "channels": "x" * 5_000})
        assert phone.says["leftOut"] == ["channels"]
        got = await told(phone, "POST", f"/v4/apps/{APP}/client/events", STARTED)
        assert (got.status_code, "x-client-state" in got.headers) == (204, False)


async def test_a_client_id_alone_is_remembered_for_nothing() -> None:
    """Whoever invents client ids pushes out no proof."""
    async with phones() as it:
        for number in range(5):
            await Phone(it, client_id=f"device-{number}").call("POST", "/client", PROPERTIES)
        assert len(it.parts.proofs) == 0
