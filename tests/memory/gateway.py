"""A gateway that a test writes the script of, and the provider's own books beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.deliveries.outcome import FOUND, Accepted, Outcome, Retry, Unknown
from domain.message import Content
from gateways.port import ChannelHalted, Notice, Target
from tests.memory.lifeline import Lifeline

Script = Callable[[Target, int], Outcome]
"""(target, how often it has been sent to before, for this message) -> what the provider says."""


def first(*outcomes: Outcome) -> Script:
    """These for an address's first sends, in turn, then Accepted."""

    def says(target: Target, times: int) -> Outcome:
        return outcomes[times] if times < len(outcomes) else Accepted("ok")

    return says


@dataclass(slots=True)
class Provider:
    """What arrived, by send id, and what of it perhaps went on to the person; it outlives the gateway processes."""

    arrived: dict[str, list[str]] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    script: Script = lambda target, times: Accepted("provider-id")
    halts_s: list[float] = field(default_factory=list)
    """The next sends are refused for our credentials, each with that time to wait."""

    def take(self, message: UUID, target: Target) -> Outcome:
        addresses = self.arrived.setdefault(target.send_id(message), [])
        addresses.append(target.address)
        outcome = self.script(target, len(addresses) - 1)
        if isinstance(outcome, Unknown) or (isinstance(outcome, Accepted) and outcome.detail != FOUND):
            self.taken[target.send_id(message)] += 1
        return outcome

    def sends(self) -> dict[str, int]:
        return {send_id: len(addresses) for send_id, addresses in self.arrived.items()}


class ScriptedGateway:
    """gateways.port.Gateway."""

    def __init__(
        self, channel: str, provider: Provider, *, slice_size: int = 2, life: Lifeline | None = None
    ) -> None:
        self.channel, self.slice_size = channel, slice_size
        self._provider, self._life = provider, life or Lifeline()

    async def send(
        self, notice: Notice, targets: Sequence[Target], *, deadline_s: float
    ) -> Sequence[Outcome]:
        await self._life.alive()
        if self._provider.halts_s:
            refused = [Retry("bad-credentials") for _ in targets]
            raise ChannelHalted("bad-credentials", refused, retry_after_s=self._provider.halts_s.pop(0))
        outcomes = [self._provider.take(notice.message, target) for target in targets]
        await self._life.step(f"send {len(targets)}")
        return outcomes

    def check(self, content: Content) -> None:
        """Carries anything."""

    async def aclose(self) -> None:
        """Holds nothing open."""
