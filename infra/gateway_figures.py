"""What providers said lately, for /metrics: outcomes by channel, and the share of addresses that they doubt.

Many doubted addresses at once are no people with old phones but a fault of ours: the wrong environment, topic or
project. Owns the figures and the alarm; never an address.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.outcome import Outcome, Rejected

log = structlog.get_logger(__name__)

SENDS_MAX: Final = 10_000
"""The last sends of a channel that the share is of: enough that one per cent is no chance."""
SENDS_MIN: Final = 200
"""Of fewer no share is told, and no alarm raised: one old phone is no fault of ours."""
DOUBTED_SHARE_MAX: Final = 0.01


class _Lately:
    """One channel's last sends. alarmed: the share was too large when it was last looked at."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.alarmed = False
        self._slices: deque[tuple[int, int]] = deque()
        self._sends = self._doubted = 0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        doubted = sum(isinstance(each, Rejected) and each.quarantine for each in outcomes)
        self.outcomes.update(type(each).__name__.lower() for each in outcomes)
        self._slices.append((len(outcomes), doubted))
        self._sends, self._doubted = self._sends + len(outcomes), self._doubted + doubted
        while self._sends - self._slices[0][0] >= SENDS_MAX:
            sends, former = self._slices.popleft()
            self._sends, self._doubted = self._sends - sends, self._doubted - former

    @property
    def share(self) -> float | None:
        """None: of too few sends to say."""
        return self._doubted / self._sends if self._sends >= SENDS_MIN else None


class GatewayFigures(Collector):
    """Of the gateways of this process."""

    def __init__(self) -> None:
        self._channels: dict[str, _Lately] = {}

    def noting(self, channel: str) -> Callable[[Sequence[Outcome]], None]:
        """What is to be told of each slice's outcomes."""
        lately = self._channels.setdefault(channel, _Lately())

        def note(outcomes: Sequence[Outcome]) -> None:
            if not outcomes:
                return
            lately.add(outcomes)
            share = lately.share or 0.0
            if share > DOUBTED_SHARE_MAX and not lately.alarmed:
                log.critical("addresses_doubted", channel=channel, share=round(share, 4))
            lately.alarmed = share > DOUBTED_SHARE_MAX

        return note

    def collect(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "msgxc_gateway_outcomes", "What sends came to, as providers said.", labels=("channel", "outcome")
        )
        doubted = GaugeMetricFamily(
            "msgxc_gateway_doubted_share",
            f"Of the last {SENDS_MAX:,} sends, those to addresses that the provider doubts; from {SENDS_MIN} sends on.",
            labels=("channel",),
        )
        for channel, lately in self._channels.items():
            for outcome, count in lately.outcomes.items():
                outcomes.add_metric((channel, outcome), count)
            if lately.share is not None:
                doubted.add_metric((channel,), lately.share)
        yield outcomes
        yield doubted
