"""What the EzOut contract is made of, put in from outside by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

from api.ezout.door import Door
from api.ezout.hub import ShopHub
from api.ezout.port import ShopLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Shops:
    log: ShopLog
    hub: ShopHub
    door: Door
