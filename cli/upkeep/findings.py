"""What the doctor says: one line about one thing, and what to do."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    state: Literal["ok", "warn", "fail"]
    about: str
    detail: str
    advice: str = ""
