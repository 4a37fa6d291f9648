"""The key store on a real server."""

import asyncio

import pytest

from infra.keys.store import JetStreamKeyStore
from infra.keys.wrapping import DESTROYED, MasterKeys, WrongMasterKey
from infra.log.log import JetStreamLog
from infra.log.opened import open_log
from infra.nats.server import NatsServer
from infra.nats.streams import KEYS_STREAM
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import until

NAME = "contact.0123456789abcdef0123456789abcdef"
SUBJECT = f"$KV.KEYS.{NAME}"


async def test_a_key_is_made_once_and_found_again(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Absent until somebody wants it made; then the same for every process, wrapped on the log."""
    assert await log.keys.key(NAME, create=False) is None
    key = await log.keys.key(NAME, create=True)
    assert key is not None
    assert len(key) == 32
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        assert await other.keys.key(NAME, create=True) == key
        assert await other.keys.keys([NAME, "day.2026-01-02"]) == {NAME: key}
    (stored,) = await log.js.direct_get(KEYS_STREAM, "$KV.KEYS.>")
    assert key not in stored.data


async def test_racing_makers_agree(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Eight processes that want the same key at once get the same one."""

    async def one() -> bytes | None:
        async with open_log(log_config(nats_server), master_key=MASTER_KEY) as own:
            return await own.keys.key(NAME, create=True)

    keys = await asyncio.gather(*(one() for _ in range(8)))
    assert len(set(keys)) == 1
    assert keys[0] is not None


async def test_a_destroyed_key_is_gone_for_ever_and_everywhere(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """Within a second on processes that had it; its bytes are off the stream; its name is never used again."""
    await log.keys.key(NAME, create=True)
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        assert await other.keys.key(NAME, create=False) is not None
        await log.keys.destroy(NAME)

        async def gone() -> bool:
            return await other.keys.key(NAME, create=False) is None

        async with asyncio.timeout(1):
            await until(gone)
        assert await other.keys.key(NAME, create=True) is None
        assert await other.keys.keys([NAME]) == {}
        assert await other.keys.resolve([NAME]) == {NAME: None}
    (left,) = await log.js.direct_get(KEYS_STREAM, SUBJECT)
    assert left.data == DESTROYED
    await log.keys.destroy(NAME)


async def test_a_name_can_be_destroyed_before_it_has_a_key(log: JetStreamLog) -> None:
    """Nobody gets one afterwards."""
    await log.keys.destroy("day.2026-01-02")
    assert await log.keys.key("day.2026-01-02", create=True) is None


async def test_destruction_wins_over_a_race_of_makers(log: JetStreamLog, nats_server: NatsServer) -> None:
    """Whatever the order: afterwards nobody has the key, or gets one."""
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        for n in range(20):
            name = f"contact.{n:032x}"
            await asyncio.gather(other.keys.key(name, create=True), log.keys.destroy(name))
            assert await log.keys.key(name, create=True) is None


async def test_a_thousand_keys_in_one_go(log: JetStreamLog, nats_server: NatsServer) -> None:
    """More than a page of them."""
    names = [f"contact.{n:032x}" for n in range(1100)]
    made = await asyncio.gather(*(log.keys.key(name, create=True) for name in names))
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as other:
        assert await other.keys.keys([*names, *names]) == dict(zip(names, made, strict=True))


async def test_keys_are_wrapped_anew_and_the_former_wrapping_is_gone(
    log: JetStreamLog, nats_server: NatsServer
) -> None:
    """After a rotation the old master key opens nothing any more, and all keys are what they were."""
    names = [f"contact.{n:032x}" for n in range(5)]
    made = {name: await log.keys.key(name, create=True) for name in names}
    await log.keys.destroy(names[4])
    new = b"another master key for the tests"
    both = MasterKeys(new, [MASTER_KEY])
    async with open_log(log_config(nats_server), master_key=both) as rotating:
        assert await rotating.keys.rewrap() == 4
        assert await rotating.keys.rewrap() == 0
    async with open_log(log_config(nats_server), master_key=new) as other:
        del made[names[4]]
        assert await other.keys.keys(names) == made
    assert len(await log.js.direct_get(KEYS_STREAM, "$KV.KEYS.>")) == 5
    async with open_log(log_config(nats_server), master_key=MASTER_KEY) as former:
        with pytest.raises(WrongMasterKey):
            await former.keys.key(names[0], create=False)


async def test_a_name_that_could_be_another_subject_is_refused(log: JetStreamLog) -> None:
    """No wildcard, no other bucket, no empty name."""
    for name in ("contact.>", "contact.*", "contact", "contact.a b", "../x.y", ""):
        with pytest.raises(ValueError, match="no name"):
            await log.keys.key(name, create=True)
    assert isinstance(log.keys, JetStreamKeyStore)
