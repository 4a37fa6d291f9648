"""Any writes in any order, again and again: every read store reads like the model in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from infra.readstore.cassandra.config import CassandraConfig
from infra.readstore.opening import read_store
from infra.readstore.store import ReadStore
from projections.port import Generation, Key, Table
from tests.conformance.read_store_tables import PROJECTION, TABLES, History, keys, pools, together, writes
from tests.memory.ports.read_models import MemoryReadModels

VERSIONS = count(1)
"""A store goes on with a generation of the same version that was begun before: each test has one of its own."""


class Stores:
    """The model and the stores that must read like it, on a loop of their own."""

    def __init__(self, stores: dict[str, ReadStore]) -> None:
        self.runner = asyncio.Runner()
        self.models = MemoryReadModels()
        self.realms = count()
        self.generations: dict[str, Generation] = {"memory": self.models.generation(PROJECTION)}
        self._stores, self._version = stores, next(VERSIONS)
        for name, store in stores.items():
            self.generations[name] = self.runner.run(self._open(store))

    async def _open(self, store: ReadStore) -> Generation:
        await store.open()
        number = await store.begin(PROJECTION, self._version)
        return await store.generation(PROJECTION, number, TABLES)

    def close(self) -> None:
        for store in self._stores.values():
            self.runner.run(store.aclose())
        self.runner.close()

    def all_agree(self, ask: Any) -> Any:
        """What `ask` brings from each generation; they must all be the same."""
        answers = {name: self.runner.run(ask(generation)) for name, generation in self.generations.items()}
        for name, answer in answers.items():
            assert answer == answers["memory"], name
        return answers["memory"]


class ReadStoreMachine(RuleBasedStateMachine):
    """Each run has a realm of its own, so that tables need not be emptied."""

    stores: ClassVar[Stores]

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.realm = f"realm {next(self.stores.realms)}"
        self.pool = {table.name: data.draw(pools(table, self.realm)) for table in TABLES}
        self.history = History()

    def keys(self, table: Table) -> st.SearchStrategy[Key]:
        """Mostly keys that were written."""
        return st.sampled_from(self.pool[table.name]) | keys(table, self.realm)

    def apply(self, page: Any) -> None:
        for generation in self.stores.generations.values():
            self.stores.runner.run(generation.apply(page, []))

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Positions come in no order, and may be older than what is there."""
        page = data.draw(st.lists(writes(self.pool), min_size=1, max_size=20))
        self.apply([self.history.add(write) for write in page])

    @rule(random=st.randoms(use_true_random=False))
    def repeat_together(self, random: Any) -> None:
        """What was written comes again, many rows in one write."""
        known = self.history.writes
        self.apply(together(random.sample(known, len(known) // 2)))

    @rule(data=st.data())
    def write_together(self, data: st.DataObject) -> None:
        """Many rows in one write are what a put of each would have made."""
        page = data.draw(st.lists(writes(self.pool), min_size=1, max_size=20))
        self.apply(together([self.history.add(write) for write in page]))

    @rule(random=st.randoms(use_true_random=False), part=st.floats(0, 1))
    def repeat(self, random: Any, part: float) -> None:
        """What was written comes again, shuffled."""
        known = self.history.writes
        self.apply(random.sample(known, int(len(known) * part)))

    @rule(data=st.data(), table=st.sampled_from(TABLES))
    def get(self, data: st.DataObject, table: Table) -> None:
        wanted = data.draw(st.lists(self.keys(table), min_size=1, max_size=8))
        rows = self.stores.all_agree(lambda models: models.get_many(table, wanted))
        assert self.stores.all_agree(lambda models: models.get(table, wanted[0])) == rows[0]

    @rule(data=st.data(), table=st.sampled_from(TABLES))
    def range(self, data: st.DataObject, table: Table) -> None:
        key = data.draw(self.keys(table))
        width = len(table.partition)
        prefixes: st.SearchStrategy[Any] = st.none()
        if table.clustering:
            prefixes |= st.integers(1, len(table.clustering)).flatmap(
                lambda size: self.keys(table).map(lambda other: other[width : width + size])
            )
        after, before = data.draw(prefixes), data.draw(prefixes)
        limit, backwards = data.draw(st.integers(1, 6)), data.draw(st.booleans())
        self.stores.all_agree(
            lambda models: models.range(
                table, key[:width], after=after, before=before, limit=limit, backwards=backwards
            )
        )

    @rule(data=st.data(), table=st.sampled_from(TABLES))
    def range_many(self, data: st.DataObject, table: Table) -> None:
        width = len(table.partition)
        some = data.draw(st.lists(self.keys(table).map(lambda key: key[:width]), max_size=8))
        limit = data.draw(st.integers(1, 6))
        self.stores.all_agree(lambda models: models.range_many(table, some, limit_each=limit))

    def teardown(self) -> None:
        """At the end of each run every row that was ever written reads the same."""
        if not hasattr(self, "history"):
            return
        for table in TABLES:
            written = sorted({write.key for write in self.history.writes if write.table is table}, key=str)
            self.stores.all_agree(lambda models, of=table, at=written: models.get_many(of, at))


@pytest.fixture
def sqlite_only(tmp_path: Path) -> Iterator[Stores]:
    stores = Stores({"sqlite": read_store(tmp_path)})
    yield stores
    stores.close()


@pytest.fixture
def both(tmp_path: Path, cassandra: CassandraConfig) -> Iterator[Stores]:
    stores = Stores({"sqlite": read_store(tmp_path), "cassandra": read_store(tmp_path, cassandra)})
    yield stores
    stores.close()


SHRINKS_S_MAX = 400
"""A failure is shrunk before it is told."""


def run(stores: Stores, *, examples: int) -> None:
    machine = type("Machine", (ReadStoreMachine,), {"stores": stores})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=checks
        ),
    )
    digests = stores.all_agree(_digests)
    assert any(rows for rows, _ in digests)


async def _digests(generation: Generation) -> list[tuple[int, str]]:
    return [await generation.digest(table) for table in TABLES]


@pytest.mark.timeout(SHRINKS_S_MAX)
def test_sqlite_reads_like_the_model(sqlite_only: Stores) -> None:
    """Last write wins cell by cell, whatever the order and however often, on SQLite."""
    run(sqlite_only, examples=60)


@pytest.mark.timeout(SHRINKS_S_MAX)
@pytest.mark.cassandra
def test_cassandra_sqlite_and_the_model_read_alike(both: Stores) -> None:
    """The same writes give the same reads and digests on Cassandra, SQLite and in memory."""
    run(both, examples=30)


@pytest.mark.timeout(SHRINKS_S_MAX)
@pytest.mark.long
@pytest.mark.cassandra
def test_many_histories_read_alike(both: Stores) -> None:
    """As above, ten times as many histories."""
    run(both, examples=300)
