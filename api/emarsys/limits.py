"""How often devices may call, as the app's owner set it: each client, all of the app, each network address.

Counted by all API processes together. Refreshing a token is never counted: a device that can't refresh can't do
anything.
"""

from __future__ import annotations

from api.port import RateCounter
from api.route import Header
from domain.app import AppFacts
from domain.app_settings import RateLimits
from domain.errors import TooMany

WINDOW_S = 60

LOOK_UPS_MAX = 600
"""Looks for apps of one network address in a window; each that finds none costs some reads of the log's leaders."""

Counted = tuple[str, int, int]
"""Whose calls, how many there may be, how many there are."""


class DeviceLimitExceeded(TooMany):
    """whose: "client", "app" or "address". fields: of the answer's header; api.emarsys.dialect puts them there."""

    def __init__(self, whose: str, limit: int, fields: list[Header], *, reset_s: int) -> None:
        super().__init__(
            f"at most {limit:,} calls of one {whose} in {WINDOW_S} s; try again in {reset_s} s",
            retry_after_s=reset_s,
        )
        self.fields = fields


def take_address(counter: RateCounter, now_s: float, app: AppFacts, address: str) -> Counted:
    """Count a call of a network address, before anything that it says is looked at: a forged token costs a signature.

    Raises DeviceLimitExceeded.
    """
    limit, second = app.settings.rate_limits.address_per_minute, int(now_s)
    count = counter.add(f"sdk|a|{app.code}|{address}", second // WINDOW_S)
    of_address = ("address", limit, count)
    if count > limit:
        fields_of(of_address, second)
    return of_address


def take(counter: RateCounter, now_s: float, app: AppFacts, caller: str, of_address: Counted) -> list[Header]:
    """Count it for its client and its app; what is left of the narrowest limit, as header fields. Raises
    DeviceLimitExceeded.

    caller: the client as proven, or what nobody else can be. What one limit refuses is not counted against the next:
    else a single address could use up what all of an app's devices have.
    """
    # Hot path: with every call of a device. What is said of a limit is made for the narrowest alone.
    limits, of, second = app.settings.rate_limits, app.code, int(now_s)
    window, add, nearest = second // WINDOW_S, counter.add, of_address
    left = nearest[1] - nearest[2]
    limit, count = limits.client_per_minute, add(f"sdk|c|{of}|{caller}", window)
    if limit - count < left:
        nearest, left = ("client", limit, count), limit - count
    if left >= 0:
        limit, count = limits.app_per_minute, add(f"sdk|p|{of}", window)
        if limit - count < left:
            nearest = ("app", limit, count)
    return fields_of(nearest, second)


def take_look_up(counter: RateCounter, now_s: float, address: str) -> list[Header]:
    """Count a look for an app that is not in memory, before anybody is asked for it: its code is anybody's word.

    Who looks for apps that there are is hardly ever counted, since one look serves a day of calls.
    """
    count = counter.add(f"sdk|l|{address}", int(now_s) // WINDOW_S)
    return fields_of(("address", LOOK_UPS_MAX, count), int(now_s))


def take_appless(counter: RateCounter, now_s: float, address: str) -> list[Header]:
    """The same where there is no app: the address alone is counted, whatever merchants it names."""
    count = counter.add(f"sdk|m|{address}", int(now_s) // WINDOW_S)
    return fields_of(("address", RateLimits().address_per_minute, count), int(now_s))


def fields_of(counted: Counted, now_s: int) -> list[Header]:
    """What is left, as header fields. Raises DeviceLimitExceeded, when it is nothing any more."""
    whose, limit, count = counted
    reset_s = WINDOW_S - now_s % WINDOW_S
    fields = [
        (b"x-rate-limit-limit", b"%d" % limit),
        (b"x-rate-limit-remaining", b"%d" % max(0, limit - count)),
        (b"x-rate-limit-reset", b"%d" % reset_s),
    ]
    if count > limit:
        raise DeviceLimitExceeded(whose, limit, fields, reset_s=reset_s)
    return fields
