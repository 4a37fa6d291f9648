"""The places that an app's devices watch. A strong ETag over the answer's bytes; 304 only to who asks for it, since the
SDKs do not, and could make nothing of one.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from api.emarsys.door import Visitor
from api.route import Answer, Call
from domain.devices.geofence import Geofence, Geofences, Trigger
from domain.errors import NotFound

DALVIK = b"Dalvik/"
"""How the HTTP client of an Android device begins its User-Agent; the SDK sends none of its own."""


async def geofences(call: Call[None, None]) -> Answer:
    """Raises NotFound for an Android device of an app that watches no place: its SDK, which asks only where geofencing
    is switched on, takes the farthest of the nearest fences without a look whether there is one
    (`createRefreshAreaGeofence` in DefaultGeofenceInternal.kt, 3.11.0), and the app crashes, at each start from then
    on. An error it passes over. Whoever asks with another client gets the empty list that it can read.
    """
    visitor: Visitor = call.visitor
    fences, user_agent = visitor.app.settings.geofences, visitor.headers.get(b"user-agent", b"")
    if not any(group.geofences for group in fences.groups) and user_agent.startswith(DALVIK):
        raise NotFound("the app watches no places")
    content = canonical(fences)
    etag = b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()
    headers = ((b"etag", etag), (b"cache-control", b"private, no-cache"))
    if _has(visitor.headers.get(b"if-none-match", b""), etag):
        return Answer(b"", 304, headers=headers)
    return Answer(content, headers=headers)


def canonical(fences: Geofences) -> bytes:
    """The same for the same fences, on every process. Fields that say nothing are left out: Android reads no null."""
    value = {
        "refreshRadiusRatio": fences.refresh_radius_ratio,
        "groups": [
            {
                "id": group.id,
                "waitInterval": group.wait_interval,
                "geofences": [_fence(fence) for fence in group.geofences],
            }
            for group in fences.groups
        ],
    }
    return msgspec.json.encode(value, order="deterministic")


def _fence(fence: Geofence) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": fence.id,
        "lat": fence.lat,
        "lon": fence.lon,
        "r": fence.r,
        "triggers": [_trigger(trigger) for trigger in fence.triggers],
    }
    return said if fence.wait_interval is None else {**said, "waitInterval": fence.wait_interval}


def _trigger(trigger: Trigger) -> dict[str, Any]:
    said: dict[str, Any] = {"id": trigger.id, "type": trigger.type, "action": trigger.action}
    return {**said, "loiteringDelay": trigger.loitering_delay} if trigger.type == "DWELLING" else said


def _has(if_none_match: bytes, etag: bytes) -> bool:
    """By weak comparison, as RFC 9110 has it for this header."""
    asked = [each.strip().removeprefix(b"W/") for each in if_none_match.split(b",")]
    return etag in asked or asked == [b"*"]
