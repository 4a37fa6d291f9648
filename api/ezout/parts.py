"""What the EzOut contract is made of, put in from outside by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

from api.ezout.door import Door
from api.ezout.hub import ShopHub
from api.ezout.port import ShopLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """beat_s: proxies drop silent streams after 30-60 s, and a dead peer shows when it is written to.

    tick_s: how long a token that ended may go on reading. send_s_max: a reader that takes nothing for this long is
    gone, or as good as.
    """

    beat_s: float = 15.0
    tick_s: float = 1.0
    send_s_max: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shops:
    log: ShopLog
    hub: ShopHub
    door: Door
    pace: Pace = Pace()
