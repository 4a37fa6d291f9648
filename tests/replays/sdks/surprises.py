"""What an SDK would retry, drop or tell its developer. A replay with one that no test announced has failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Surprises:
    """Words of a surprise begin with what the SDK does: retried, dropped, error, unreadable, rejected, crashed."""

    found: list[str] = field(default_factory=list)
    _announced: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    """Announced ones that came."""

    def add(self, what: str) -> None:
        if any(what.startswith(beginning) for beginning in self._announced):
            self.met.append(what)
        else:
            self.found.append(what)

    @contextmanager
    def announced(self, *beginnings: str) -> Iterator[None]:
        """Within, surprises that begin so belong to the scenario; each must come at least once."""
        before = len(self.met)
        self._announced += beginnings
        try:
            yield
        finally:
            for beginning in beginnings:
                self._announced.remove(beginning)
        missing = [one for one in beginnings if not any(met.startswith(one) for met in self.met[before:])]
        assert not missing, f"announced, but did not come: {missing}"

    def assert_none(self) -> None:
        assert not self.found, "the SDK would not have expected:\n" + "\n".join(self.found)
