"""Which way saves of one event go: the one that finishes more of them, on a disk that is played by a clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.nats.appending.ways import Ways

MS = 0.001
SWING_S = 0.3


@dataclass(slots=True)
class Played:
    """A log that does one thing after another, with callers who save again as soon as they are answered.

    apart_s, batch_s: what an append alone takes it, and a batch by its size. answer_s: the way to it and back.
    swing: by up to so many times slower the machine is for a while, and by another part of it afterwards.
    """

    apart_s: float
    batch_s: Callable[[int], float]
    answer_s: float = 0.2 * MS
    noise: float = 0.0
    swing: float = 0.0
    now_s: float = 0.0
    finished: int = 0
    together_s: float = 0.0
    slowest_s: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(7))
    _free_s: float = 0.0
    _turn: int = 0

    def run(self, ways: Ways, callers: int, seconds: float) -> float:
        """Saves finished a second; all of them are answered at the end."""
        end_s, before, began_s = self.now_s + seconds, self.finished, self.now_s
        answers: list[tuple[float, int, bool, list[float]]] = []
        waiting: list[float] = []
        ready, batch_under_way = callers, False
        self._free_s = self.now_s
        while ready or answers or waiting:
            for _ in range(ready):
                together = ways.together
                ways.began()
                if together:
                    waiting.append(self.now_s)
                else:
                    heapq.heappush(answers, self._answer([self.now_s], is_batch=False))
            if waiting and not batch_under_way:
                heapq.heappush(answers, self._answer(waiting, is_batch=True))
                waiting, batch_under_way = [], True
            at_s, _, is_batch, saves = heapq.heappop(answers)
            self.together_s += (at_s - self.now_s) * ways.together
            self.now_s = at_s
            batch_under_way &= not is_batch
            self.slowest_s = max(self.slowest_s, *(at_s - since_s for since_s in saves))
            ways.ended(len(saves))
            self.finished += len(saves)
            ready = len(saves) if at_s < end_s else 0
        return (self.finished - before) / (self.now_s - began_s)

    def _answer(self, saves: list[float], *, is_batch: bool) -> tuple[float, int, bool, list[float]]:
        """When these, handed in at those times, are answered."""
        work_s = self.batch_s(len(saves)) if len(saves) > 1 else self.apart_s
        work_s *= 1 + self._random.uniform(-self.noise, self.noise)
        work_s *= 1 + self.swing * random.Random(self.now_s // SWING_S).random()
        self._free_s = max(self._free_s, self.now_s) + work_s
        self._turn += 1
        return self._free_s + self.answer_s, self._turn, is_batch, saves


def played(disk: Played) -> Ways:
    return Ways(clock=lambda: disk.now_s)


def dear(*, noise: float = 0.0) -> Played:
    """Each flush takes 3 ms, of one save or of many."""
    return Played(3 * MS, lambda saves: 3 * MS + saves * 0.01 * MS, noise=noise)


def cheap(*, noise: float = 0.0) -> Played:
    """The server takes less for saves one by one than for the members of a batch."""
    return Played(0.15 * MS, lambda saves: saves * 0.27 * MS, noise=noise)


def test_where_flushes_are_dear_saves_share_them() -> None:
    """From the second second on, and in nearly all of the time afterwards."""
    disk = dear()
    ways = played(disk)
    disk.run(ways, 128, 1)
    assert ways.together
    assert disk.run(ways, 128, 20) > 0.95 * 64 / (3.64 * MS + disk.answer_s)


def test_where_flushes_are_cheap_saves_go_side_by_side() -> None:
    """Trials of batches take little more than their share."""
    disk = cheap()
    ways = played(disk)
    disk.run(ways, 128, 1)
    assert not ways.together
    disk.together_s = 0.0
    assert disk.run(ways, 128, 20) > 0.97 / disk.apart_s
    assert 0 < disk.together_s < 0.04 * 20


def test_noise_changes_nothing() -> None:
    """Neither of two disks, each as uneven as a shared machine's."""
    for disk, together in ((dear(noise=0.8), True), (cheap(noise=0.8), False)):
        ways = played(disk)
        disk.run(ways, 128, 1)
        for _ in range(8):
            disk.run(ways, 128, 1)
            assert ways.together == together


def test_a_machine_whose_speed_swings_is_learnt_all_the_same() -> None:
    """A trial that met a slow moment decides nothing for long."""
    for began_s in range(0, 12_000, 1_000):
        disk = Played(0.3 * MS, lambda saves: 9 * MS + saves * 0.13 * MS, swing=2.0, now_s=began_s)
        ways = played(disk)
        disk.run(ways, 256, 4)
        disk.together_s = 0.0
        disk.run(ways, 256, 30)
        assert disk.together_s > 0.6 * 30


def test_two_ways_that_take_the_same_are_not_changed_for_nothing() -> None:
    """One stays as it is."""
    disk = Played(0.2 * MS, lambda saves: saves * 0.2 * MS, noise=0.3)
    ways = played(disk)
    disk.run(ways, 64, 30)
    assert not ways.together


def test_a_disk_that_changes_is_noticed() -> None:
    """Within seconds, either way."""
    disk = cheap()
    ways = played(disk)
    disk.run(ways, 128, 20)
    disk.apart_s, disk.batch_s = dear().apart_s, dear().batch_s
    disk.run(ways, 128, 5)
    assert ways.together
    disk.run(ways, 128, 20)
    disk.apart_s, disk.batch_s = cheap().apart_s, cheap().batch_s
    disk.run(ways, 128, 5)
    assert not ways.together


def test_few_callers_wait_no_longer_than_an_append_takes_them() -> None:
    """After a rush in batches, a caller alone is served as ever, and four share what is dear to each."""
    disk = dear()
    ways = played(disk)
    disk.run(ways, 128, 5)
    assert disk.run(ways, 1, 2) > 0.95 / (disk.apart_s + disk.answer_s)
    assert disk.run(ways, 4, 5) > 0.9 / disk.apart_s


def test_a_lost_trial_is_over_at_once() -> None:
    """Nobody waits for more than the saves that went out in it."""
    disk = dear()
    ways = played(disk)
    disk.run(ways, 128, 2)
    disk.slowest_s = 0.0
    disk.run(ways, 128, 30)
    assert disk.slowest_s < 1.1 * 128 * disk.apart_s
