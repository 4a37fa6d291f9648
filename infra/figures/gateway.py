"""What providers said lately, for /metrics: outcomes by channel, refused messages, the share of addresses they doubt.

Many doubted addresses at once are no people with old phones but a fault of ours: the wrong environment, topic or
project. A message that is refused whoever it is for is ours from the first one on. Owns the figures and the alarms;
never an address, never a provider's words.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.deliveries import channel as channels
from domain.deliveries.outcome import Outcome, Rejected

log = structlog.get_logger(__name__)

SENDS_MAX: Final = 10_000
"""The last sends of a channel that the share is of: enough that one per cent is no chance."""
SENDS_MIN: Final = 200
"""Of fewer no share is told, and no alarm raised: one old phone is no fault of ours."""
DOUBTED_SHARE_MAX: Final = 0.01
REFUSED_LOGGED_S: Final = 60.0
"""Between two lines about the same code of a channel: one says it, a multicast's thousands would hide it."""
CODES_MAX: Final = 32
"""Of a channel, that are told apart; providers have fewer."""
OTHER: Final = "other"
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def is_our_fault(channel: str, outcome: Outcome) -> bool:
    """Whether a provider refused what we say, not whom we say it to: a payload, a field, a request.

    Of mail servers alone (5xx) a refusal is the recipient's to decide: what they call spam is no error of ours.
    """
    if not isinstance(outcome, Rejected) or outcome.quarantine:
        return False
    return not (channel == channels.EMAIL and outcome.code.startswith("5"))


class _Refusals:
    """One channel's, by the provider's code."""

    def __init__(self, channel: str, now_s: Callable[[], float]) -> None:
        self._channel, self._now_s = channel, now_s
        self.counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}

    def add(self, outcomes: Sequence[Outcome]) -> None:
        codes = Counter(
            outcome.code
            for outcome in outcomes
            if isinstance(outcome, Rejected) and is_our_fault(self._channel, outcome)
        )
        for code, count in codes.items():
            self._add(code, count)

    def _add(self, code: str, count: int) -> None:
        is_known = code in self.counts or (len(self.counts) < CODES_MAX and _CODE.fullmatch(code) is not None)
        name = code if is_known else OTHER
        self.counts[name] += count
        logged_at, told = self._logged.get(name, (-REFUSED_LOGGED_S, 0))
        now = self._now_s()
        if now - logged_at >= REFUSED_LOGGED_S:
            self._logged[name] = (now, self.counts[name])
            log.error("messages_refused", channel=self._channel, code=name, count=self.counts[name] - told)


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

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._channels: dict[str, _Lately] = {}
        self._refusals: dict[str, _Refusals] = {}

    def noting(self, channel: str) -> Callable[[Sequence[Outcome]], None]:
        """What is to be told of each slice's outcomes."""
        lately = self._channels.setdefault(channel, _Lately())
        refusals = self._refusals.setdefault(channel, _Refusals(channel, self._now_s))

        def note(outcomes: Sequence[Outcome]) -> None:
            if not outcomes:
                return
            lately.add(outcomes)
            refusals.add(outcomes)
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
        refused = CounterMetricFamily(
            "msgxc_gateway_refused",
            "Messages that a provider refused whoever they were for: a fault of ours.",
            labels=("channel", "code"),
        )
        for channel, refusals in self._refusals.items():
            for code, count in refusals.counts.items():
                refused.add_metric((channel, code), count)
        for channel, lately in self._channels.items():
            for outcome, count in lately.outcomes.items():
                outcomes.add_metric((channel, outcome), count)
            if lately.share is not None:
                doubted.add_metric((channel,), lately.share)
        yield outcomes
        yield refused
        yield doubted
