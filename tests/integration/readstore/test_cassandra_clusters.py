"""Cassandra as production has it: replicas that fail, log-ins, TLS. Each test starts nodes of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import HostFilterPolicy, RoundRobinPolicy

from cli.wiring.stores import open_store
from domain.errors import Unavailable
from domain.recorded import EVENTS, Checkpoint
from infra.cassandra_node.jars import NoCassandraError
from infra.cassandra_node.node import CassandraNode
from infra.readstore.cassandra.config import CassandraConfig, NotLetIn, NotTrusted
from infra.readstore.opening import read_store
from projections.port import Generation, Put, Table
from tests.fixtures.cassandra import none_here
from tests.fixtures.certificates import Certificates
from tests.fixtures.sessions import session_of

pytestmark = [pytest.mark.long, pytest.mark.cassandra, pytest.mark.timeout(400)]

MEET_S_MAX = 60.0

TABLE = Table(
    projection="cluster",
    name="cluster_rows",
    partition={"realm": "text", "bucket": "bigint"},
    clustering={"number": "bigint"},
    columns={"words": "text"},
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[CassandraNode]]:
    """Three nodes in one cluster; the last test of the module may kill them."""
    folder = tmp_path_factory.mktemp("three")
    with contextlib.ExitStack() as stack:
        nodes: list[CassandraNode] = []
        for number in range(3):
            seed = nodes[0].address if nodes else ""
            # Tokens far apart: each node gets a third of the rows.
            token = {"initial_token": str((number - 1) * (2**63 // 3) * 2)}
            node = CassandraNode(folder / str(number), seed=seed, more=token)
            stack.callback(node.kill)
            try:
                node.start()
            except NoCassandraError as error:
                none_here(str(error))
            nodes.append(node)
        for node in nodes:
            wait_until_met(node, len(nodes) - 1)
        yield nodes


def wait_until_met(node: CassandraNode, others: int) -> None:
    """Return once the node knows so many others, with the schema that it has itself: it answers before that."""
    itself = HostFilterPolicy(RoundRobinPolicy(), lambda host: host.endpoint.port == node.port)
    profile = ExecutionProfile(load_balancing_policy=itself)
    with Cluster([(node.host, node.port)], execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        session = cluster.connect()
        until_s = time.monotonic() + MEET_S_MAX
        while True:
            [(own,)] = session.execute("SELECT schema_version FROM system.local")
            theirs = [version for (version,) in session.execute("SELECT schema_version FROM system.peers_v2")]
            if theirs == [own] * others:
                return
            assert time.monotonic() < until_s, (own, theirs)
            time.sleep(0.2)


def config_of(nodes: list[CassandraNode], *, rf: int) -> CassandraConfig:
    hosts = tuple((node.host, node.port) for node in nodes)
    return CassandraConfig(hosts=hosts, keyspace=f"cluster_{rf}", dc="datacenter1", rf=rf)


def puts(first: int, number: int) -> list[Put]:
    return [
        Put(TABLE, ("main", n % 200, n), {"words": f"word {n}"}, n + 1) for n in range(first, first + number)
    ]


async def in_time[T](ask: Callable[[], Awaitable[T]]) -> T:
    """As the projector does it: again until the store answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(0.2)


async def applied(generation: Generation, first: int, number: int) -> None:
    page, checkpoints = puts(first, number), [Checkpoint(EVENTS, first + number, "e")]
    await in_time(lambda: generation.apply(page, checkpoints))


async def test_rows_on_different_nodes_are_read_as_one(three: list[CassandraNode], tmp_path: Path) -> None:
    """Without replicas each row is on one of the nodes; pages, digests and checkpoints don't show it."""
    async with read_store(tmp_path, config_of(three, rf=1)) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        await generation.apply(puts(0, 3000), [Checkpoint(EVENTS, 3000, "e")])
        assert (await generation.digest(TABLE))[0] == 3000
        rows = await generation.range_many(TABLE, [("main", bucket) for bucket in range(200)])
        assert sum(map(len, rows.values())) == 3000
        found = await generation.get_many(TABLE, [put.key for put in puts(0, 3000)])
        assert all(row is not None for row in found)


async def test_one_of_three_replicas_may_fail(three: list[CassandraNode], tmp_path: Path) -> None:
    """By quorum: with one node killed all goes on, with two it says so, and all rows are there."""
    async with read_store(tmp_path, config_of(three, rf=3)) as store:
        number = await store.begin(TABLE.projection, 1)
        generation = await store.generation(TABLE.projection, number, [TABLE])
        await store.switch(TABLE.projection, number)
        await applied(generation, 0, 1000)
        three[2].kill()
        await applied(generation, 1000, 1000)
        assert (await in_time(lambda: generation.digest(TABLE)))[0] == 2000
        three[1].kill()
        with pytest.raises(Unavailable):
            await generation.apply(puts(2000, 100), [])
        with pytest.raises(Unavailable):
            await store.ready()
        three[1].start()
        await applied(generation, 2000, 100)
        assert (await in_time(lambda: generation.digest(TABLE)))[0] == 2100


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[CassandraConfig]:
    """One node that speaks TLS and asks who one is; the password is the one every node begins with."""
    certificates = Certificates(tmp_path / "certificates")
    chain = (tmp_path / "certificates" / "chain.pem").read_text()
    key = chain[chain.index("-----BEGIN PRIVATE KEY") :]
    trusted = Path(certificates.ca_file).read_text()
    factory = {
        "class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory",
        "parameters": {
            "private_key": key + chain[: chain.index("-----BEGIN PRIVATE KEY")],
            "trusted_certificates": trusted,
        },
    }
    more = {
        "authenticator": "PasswordAuthenticator",
        "authorizer": "CassandraAuthorizer",
        "client_encryption_options": {"enabled": True, "optional": True, "ssl_context_factory": factory},
    }
    try:
        with CassandraNode(tmp_path / "node", more=more) as node:
            yield CassandraConfig(
                hosts=((node.host, node.port),),
                user="cassandra",
                password="cassandra",
                ca=Path(certificates.ca_file),
            )
    except NoCassandraError as error:
        none_here(str(error))


async def test_log_in_and_tls(guarded: CassandraConfig, tmp_path: Path) -> None:
    """With user, password and the authority's certificate the store opens; with a wrong one of them it does not."""

    async def opens() -> None:
        async with read_store(tmp_path, guarded) as store:
            await store.ready()

    await in_time(opens)  # the node makes its first user a moment after it answers
    other = Certificates(tmp_path / "other")
    for wrong in ({"password": "wrong"}, {"user": ""}):
        with pytest.raises(NotLetIn):
            await read_store(tmp_path, msgspec.structs.replace(guarded, **wrong)).open()
    with pytest.raises(NotTrusted) as untrusted:
        await read_store(tmp_path, msgspec.structs.replace(guarded, ca=Path(other.ca_file))).open()
    assert untrusted.value.why == "certificate verify failed: unable to get local issuer certificate"
    assert "certificate" not in untrusted.value.detail  # which callers of the API are told
    assert "cassandra'" not in repr(guarded)
    [(host, port)] = guarded.hosts
    session = session_of(
        tmp_path / "data",
        CASSANDRA=f"{host}:{port}",
        CASSANDRA_CA=str(guarded.ca),
        CASSANDRA_USER="cassandra",
        CASSANDRA_PASSWORD="wrong",
    )
    with pytest.raises(Unavailable, match="refuses the user or the password: mend MSGXC_CASSANDRA_USER and"):
        async with open_store(session):
            pass
