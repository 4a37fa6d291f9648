"""What /readyz asks of the read models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from cli.bootstrap import Exchange
from cli.wiring.probes import LAG_MAX, ModelsProbe
from cli.wiring.stores import make_missing
from infra.readstore.opening import read_store
from projections.catalogue import ALL


class EndOfLog:
    def __init__(self) -> None:
        self.position = 0

    async def end(self, _stream: str) -> int:
        return self.position


async def test_an_exchange_without_read_models_is_not_ready(tmp_path: Path) -> None:
    """However little is on the log; and when all are there, as long as they are not far behind it."""
    log = EndOfLog()
    async with read_store(tmp_path) as store:
        probe = ModelsProbe(cast("Exchange", SimpleNamespace(store=store, log=log)))
        found = await probe()
        assert not found.ok
        assert found.detail.startswith("not built yet: contacts, ")
        await make_missing(store)
        # Others learn of a generation within a second; this process at once.
        ready = await probe()
        assert (ready.ok, ready.detail) == (True, "")
        assert set(ready.values) == {f"lag_{each.name}" for each in ALL}
        log.position = LAG_MAX + 1
        behind = await probe()
        assert not behind.ok
        assert "facts behind" in behind.detail
