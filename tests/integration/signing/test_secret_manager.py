"""Signing keys in Google Secret Manager: read, followed, rotated, and what happens when Google is away."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from domain.errors import Unavailable
from infra.signing.google import (
    REFRESH_S,
    RENEW_BEFORE_S,
    SIGNS_AFTER_S,
    START_S_MAX,
    AccountToken,
    GoogleSigningKeys,
    MetadataToken,
    SecretManager,
    SecretRefused,
    crc32c,
)
from infra.signing.key import BadKey
from tests.fixtures.certificates import Certificates
from tests.fixtures.secret_manager import (
    SECRET,
    TOKEN_S,
    Answer,
    FakeGoogle,
    endless,
    error,
    fake_google,
    garbled,
    hang_up,
    nonsense,
)
from tests.fixtures.webserver import serving


@pytest.fixture
async def fake() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as running:
        yield running


def key(kid: str) -> bytes:
    return json.dumps({"kty": "oct", "kid": kid, "k": os.urandom(32).hex()}).encode()


def keys_of(fake: FakeGoogle, *, later_s: float = 0) -> GoogleSigningKeys:
    """Keys read with the machine's token, by the fake's clock, without long pauses."""
    manager = SecretManager(SECRET, MetadataToken(fake.url), url=fake.url)
    return GoogleSigningKeys(
        manager, now_s=lambda: fake.now.timestamp() + later_s, refresh_s=0.01, retry_s=0.0
    )


def shown(keys: GoogleSigningKeys) -> tuple[str, list[str]]:
    current = keys.current()
    return current.signing.kid, [each.kid for each in current.verifying]


def accesses(fake: FakeGoogle) -> int:
    return sum(path.endswith(":access") for path in fake.asked)


async def test_enabled_versions_are_keys_and_the_newest_signs(fake: FakeGoogle) -> None:
    """Disabled and destroyed ones are no keys; each version is read once, since it never changes."""
    first = fake.add(key("one"))
    fake.add(key("two"))
    fake.versions[fake.add(key("three"))].state = "DISABLED"
    keys = keys_of(fake)
    await keys.start()
    assert shown(keys) == ("two", ["two", "one"])
    before = keys.current()
    await keys.refresh()
    assert keys.current() is before
    assert accesses(fake) == 2
    fake.versions[first].state = "DESTROYED"
    await keys.refresh()
    assert shown(keys) == ("two", ["two"])


async def test_a_new_version_verifies_at_once_and_signs_when_all_have_read_it(fake: FakeGoogle) -> None:
    """By the time of its making, which is the same for every process."""
    fake.add(key("one"))
    early, late = keys_of(fake), keys_of(fake, later_s=SIGNS_AFTER_S)
    fake.add(key("two"), age_s=REFRESH_S)
    for keys in (early, late):
        await keys.start()
    assert shown(early) == ("one", ["two", "one"])
    assert shown(late) == ("two", ["two", "one"])


async def test_two_new_versions_and_no_other(fake: FakeGoogle) -> None:
    """On the first day the older one signs: others learn of it first."""
    fake.add(key("one"), age_s=20)
    fake.add(key("two"), age_s=10)
    keys = keys_of(fake)
    await keys.start()
    assert shown(keys) == ("one", ["two", "one"])


async def test_a_version_that_google_keeps_to_itself_is_passed_over(fake: FakeGoogle) -> None:
    """It takes no other away and stops no start; once it can be read it is a key. What was read stays so."""
    locked, other = fake.add(key("locked")), fake.add(key("other"))
    fake.versions[locked].is_locked = True
    keys = keys_of(fake)
    await keys.start()
    assert shown(keys) == ("other", ["other"])
    fake.versions[locked].is_locked, fake.versions[other].is_locked = False, True
    await keys.refresh()
    assert shown(keys) == ("other", ["other", "locked"])
    fake.versions[locked].is_locked = True
    with pytest.raises(SecretRefused, match="FAILED_PRECONDITION"):
        await keys_of(fake).start()


async def test_a_version_that_is_no_key_is_passed_over(fake: FakeGoogle) -> None:
    """One mistake takes no other key away; when nothing is left, the former keys stay."""
    fake.add(key("one"))
    fake.add(b"not a key")
    fake.add(json.dumps({"keys": [json.loads(key("a")), json.loads(key("b"))]}).encode())
    keys = keys_of(fake)
    await keys.start()
    assert shown(keys) == ("one", ["one"])
    fake.versions["projects/123/secrets/sdk-keys/versions/1"].state = "DISABLED"
    with pytest.raises(BadKey):
        await keys.refresh()
    assert shown(keys) == ("one", ["one"])


AWAY: list[Answer] = [
    error(503, "UNAVAILABLE"),
    error(429, "RESOURCE_EXHAUSTED"),
    error(500, "INTERNAL"),
    hang_up,
    nonsense,
    garbled,
    endless,
]


@pytest.mark.parametrize("answer", AWAY)
async def test_when_google_is_away_the_former_keys_stay(fake: FakeGoogle, answer: Answer) -> None:
    """Whatever it answers, nobody is signed out; the next refresh takes up what is new."""
    fake.add(key("one"))
    keys = keys_of(fake)
    await keys.start()
    fake.add(key("two"))
    fake.fail.append(answer)
    with pytest.raises(Unavailable) as refused:
        await keys.refresh()
    assert "hunter2" not in str(refused.value)
    assert shown(keys) == ("one", ["one"])
    await keys.refresh()
    assert shown(keys) == ("two", ["two", "one"])


@pytest.mark.parametrize("answer", [error(403, "PERMISSION_DENIED"), error(404, "NOT_FOUND")])
async def test_what_google_refuses_stops_the_start_with_its_word(fake: FakeGoogle, answer: Answer) -> None:
    """The operator must act: waiting would not help."""
    fake.fail.append(answer)
    with pytest.raises(SecretRefused, match=r"PERMISSION_DENIED|NOT_FOUND"):
        await keys_of(fake).start()


async def test_a_secret_without_versions_stops_the_start(fake: FakeGoogle) -> None:
    """Nothing can be signed."""
    with pytest.raises(BadKey):
        await keys_of(fake).start()


async def test_a_start_waits_for_google(fake: FakeGoogle) -> None:
    """A moment's absence is no failed start; a long one is."""
    fake.add(key("one"))
    fake.fail += [error(503, "UNAVAILABLE")] * 3
    keys = keys_of(fake)
    await keys.start()
    assert shown(keys) == ("one", ["one"])
    clock = iter([0.0, START_S_MAX])
    nowhere = SecretManager(SECRET, MetadataToken("http://127.0.0.1:1"), url="http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        await GoogleSigningKeys(nowhere, monotonic=lambda: next(clock)).start()


@pytest.mark.parametrize("crc", ["7", "no number"])
async def test_a_damaged_payload_is_not_taken_for_a_key(fake: FakeGoogle, crc: str) -> None:
    """Its CRC says so; it is read again the next time."""
    version = fake.versions[fake.add(key("one"))]
    good, version.crc = version.crc, crc
    keys = keys_of(fake)
    with pytest.raises(Unavailable, match="damaged"):
        await keys.refresh()
    version.crc = good
    await keys.refresh()
    assert shown(keys) == ("one", ["one"])


async def test_keys_are_followed(fake: FakeGoogle) -> None:
    """A failed round is made up by the next; following ends when it is told to."""
    fake.add(key("one"))
    keys = keys_of(fake)
    await keys.start()
    following = asyncio.create_task(keys.run())
    fake.fail += [error(503, "UNAVAILABLE"), error(403, "PERMISSION_DENIED")]
    fake.add(key("two"))
    async with asyncio.timeout(10):
        while shown(keys)[0] != "two":
            await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.wait((following,))
    assert following.cancelled()


async def test_a_rotation_adds_a_version(fake: FakeGoogle) -> None:
    """What is added comes back as a key."""
    manager = SecretManager(SECRET, MetadataToken(fake.url), url=fake.url)
    name = await manager.add(b"ab" * 32)
    assert await manager.payload(name) == b"ab" * 32


async def test_the_machines_token_is_kept_until_it_is_about_to_end(fake: FakeGoogle) -> None:
    """One request for an hour; what is not the metadata server is not believed."""
    now_s = 0.0
    token = MetadataToken(fake.url, now_s=lambda: now_s)
    assert [await token.get(), await token.get()] == ["token-1", "token-1"]
    now_s = TOKEN_S - RENEW_BEFORE_S
    assert await token.get() == "token-2"

    async def impostor(_: web.Request) -> web.Response:
        return web.json_response({"access_token": "x", "expires_in": 1})

    app = web.Application()
    app.router.add_get("/{path:.*}", impostor)
    async with serving(app) as url:
        with pytest.raises(SecretRefused):
            await MetadataToken(url).get()


async def test_a_service_account_reads_over_tls_alone(tmp_path: Path) -> None:
    """Its signed assertion buys a token; a server that cannot be trusted gets neither."""
    trusted = Certificates(tmp_path / "trusted")
    async with fake_google(trusted.server()) as fake:
        fake.add(key("one"))
        account = AccountToken(fake.credentials(), ca_file=Path(trusted.ca_file))
        keys = GoogleSigningKeys(SecretManager(SECRET, account, url=fake.url, ca_file=Path(trusted.ca_file)))
        await keys.start()
        assert shown(keys) == ("one", ["one"])
        asked = len(fake.asked)
        with pytest.raises(Unavailable):
            await SecretManager(SECRET, account, url=fake.url).versions()
        assert len(fake.asked) == asked
        await account.aclose()
        stranger = AccountToken(fake.credentials())
        with pytest.raises((SecretRefused, Unavailable)):
            await stranger.get()
        await stranger.aclose()


def test_the_crc_is_castagnolis() -> None:
    """RFC 3720, appendix B.4, and the check value that catalogues of CRCs give."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
