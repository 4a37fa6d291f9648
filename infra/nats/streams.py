"""The streams and the key bucket: their settings, made once, checked at every start. Never changes a stream.

A stream that differs from what is written here is reported as drift; only an operator may change it. EVENTS
can neither be purged nor lose single messages, and refuses what does not fit instead of forgetting the oldest.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from domain.devices.signal import KEPT
from domain.recorded import DELIVERY, EVENTS, FEED, SCHEDULES, SHOPS, SIGNALS, STATES, TRIAGE
from infra.nats.jetstream import JetStream, StreamInfo
from infra.nats.wire.errors import Refused

KEYS_BUCKET = "KEYS"
KEYS_STREAM = f"KV_{KEYS_BUCKET}"

APPS_BUCKET = "APPS"
APPS_STREAM = f"KV_{APPS_BUCKET}"

CLAIMS_BUCKET = "SHOP_CLAIMS"
CLAIMS_STREAM = f"KV_{CLAIMS_BUCKET}"

PLACES_BUCKET = "PLACES"
PLACES_STREAM = f"KV_{PLACES_BUCKET}"

LEASES_BUCKET = "LEASES"
LEASES_STREAM = f"KV_{LEASES_BUCKET}"
LEASE_S = 3.0
"""How long a lease lasts that nobody renews: a process that was killed is replaced after it."""

EPOCH = "msgxc-epoch"
"""Key in a stream's metadata: which life of the log this is. Made with the stream, renewed by a restore."""

ID_KEY = "msgxc-id-key"
"""Key in a stream's metadata: the name of the key that all its ids come from. Another key would make other ids."""

NS = 1_000_000_000
APPS_BYTES_MAX = 256 << 20
"""Some ten thousand apps with geofences, or a hundred thousand without."""
DAY_S = 86_400
OLDER: Mapping[tuple[str, str], tuple[Any, ...]] = {(FEED, "max_msgs_per_subject"): (1_000,)}
"""What older versions made of settings, where it only holds less than now and so may be widened at any time."""
_EXISTS = 10058


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides. Ages in seconds, 0: for ever."""

    replicas: int = 1
    events_bytes_max: int = 64 << 30
    delivery_age_s: int = 0
    feed_age_s: int = 30 * DAY_S
    feed_messages_per_subject_max: int = 10_000
    signals_age_s: int = KEPT.days * DAY_S
    shops_age_s: int = 3650 * DAY_S
    states_age_s: int = 7 * DAY_S


class Drift(msgspec.Struct, frozen=True):
    """A setting of a stream that is not as it should be."""

    stream: str
    setting: str
    wanted: Any
    found: Any

    @property
    def is_of_older_version(self) -> bool:
        """Whether an older version made the stream so: no harm, until an operator widens it."""
        return self.found in OLDER.get((self.stream, self.setting), ())

    def __str__(self) -> str:
        return f"{self.stream}: {self.setting} is {self.found!r}, should be {self.wanted!r}"


def stream_configs(settings: StreamSettings) -> list[dict[str, Any]]:
    """The streams of the architecture's table, as JetStream takes them."""
    shared = {"storage": "file", "num_replicas": settings.replicas, "allow_direct": True}
    streams: dict[str, dict[str, Any]] = {
        EVENTS: {
            "subjects": ["evt.>"],
            "deny_delete": True,
            "deny_purge": True,
            "discard": "new",
            "max_bytes": settings.events_bytes_max,
            "allow_atomic": True,
        },
        DELIVERY: {
            "subjects": ["audience.>", "dispatch.>", "attempt.>", "outcome.>", "receipt.>"],
            "max_age": settings.delivery_age_s * NS,
            "allow_atomic": True,
        },
        FEED: {
            "subjects": ["feed.>"],
            "max_age": settings.feed_age_s * NS,
            "max_msgs_per_subject": settings.feed_messages_per_subject_max,
            "republish": {"src": "feed.>", "dest": "live.>"},
            "allow_atomic": True,
        },
        SIGNALS: {"subjects": ["signal.>"], "max_age": settings.signals_age_s * NS},
        SCHEDULES: {
            "subjects": ["schedule.>", "due.>"],
            "max_msgs_per_subject": 1,  # what replaces or cancels a schedule leaves nothing of it
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
        },
        SHOPS: {
            "subjects": ["updates.store.>"],
            "max_age": settings.shops_age_s * NS,
            "republish": {"src": "updates.store.>", "dest": "live.updates.store.>"},
        },
        STATES: {"subjects": ["state.client.>"], "max_age": settings.states_age_s * NS},
        TRIAGE: {"subjects": ["triage.>"], "max_msgs_per_subject": 1},
    }
    return [{"name": name, **shared, **config} for name, config in (streams | _buckets()).items()]


def _buckets() -> dict[str, dict[str, Any]]:
    """The streams of the key-value buckets."""
    return {
        # A key and what replaces it: two, so that the older one can be overwritten on the disk, not just left.
        KEYS_STREAM: {
            "subjects": [f"$KV.{KEYS_BUCKET}.>"],
            "max_msgs_per_subject": 2,
            "discard": "new",
            "deny_purge": True,
        },
        # A cache: what does not fit, or is older than a day, is asked for again.
        APPS_STREAM: {
            "subjects": [f"$KV.{APPS_BUCKET}.>"],
            "max_msgs_per_subject": 1,
            "max_age": DAY_S * NS,
            "max_bytes": APPS_BYTES_MAX,
        },
        # A day, since tills repeat after minutes, and 200 keys a second are 17 million entries a day.
        CLAIMS_STREAM: {
            "subjects": [f"$KV.{CLAIMS_BUCKET}.>"],
            "max_msgs_per_subject": 1,
            "max_age": DAY_S * NS,
        },
        # How far a process has come that keeps no read model.
        PLACES_STREAM: {"subjects": [f"$KV.{PLACES_BUCKET}.>"], "max_msgs_per_subject": 1},
        LEASES_STREAM: {
            "subjects": [f"$KV.{LEASES_BUCKET}.>"],
            "max_msgs_per_subject": 1,
            "max_age": int(LEASE_S * NS),
        },
    }


async def ensure(
    js: JetStream, settings: StreamSettings, *, only: Iterable[str] | None = None, id_key: str = ""
) -> list[Drift]:
    """Make the streams that are missing; what differs in those that exist. Nothing existing is changed.

    id_key: the name of the id key, kept with the streams that are made.
    """
    wanted = set(only) if only is not None else None
    drifts: list[Drift] = []
    for config in stream_configs(settings):
        if wanted is None or config["name"] in wanted:
            drifts += await _ensure_one(js, config, id_key)
    return drifts


async def _ensure_one(js: JetStream, config: Mapping[str, Any], id_key: str) -> list[Drift]:
    name = config["name"]
    found = await js.info(name)
    if found is None:
        metadata = {EPOCH: new_epoch(), ID_KEY: id_key} if id_key else {EPOCH: new_epoch()}
        try:
            await js.api(f"STREAM.CREATE.{name}", {**config, "metadata": metadata})
        except Refused as refused:  # another process made it just now
            if refused.failure.err_code != _EXISTS:
                raise
        found = await js.info(name)
    return drift_of(config, found) if found is not None else []


def drift_of(wanted: Mapping[str, Any], found: StreamInfo) -> list[Drift]:
    name = str(wanted["name"])
    drifts = [
        Drift(name, setting, value, found.config.get(setting))
        for setting, value in wanted.items()
        if (found.config.get(setting) or None) != (value or None)
    ]
    if not epoch_of(found):
        drifts.append(Drift(name, f"metadata.{EPOCH}", "an epoch", None))
    return drifts


def epoch_of(info: StreamInfo) -> str:
    return _mark_of(info, EPOCH)


def id_key_of(info: StreamInfo) -> str:
    """The name of the key that the stream's ids come from; "" where nobody has said."""
    return _mark_of(info, ID_KEY)


def _mark_of(info: StreamInfo, name: str) -> str:
    metadata = info.config.get("metadata") or {}
    return str(metadata.get(name, ""))


def new_epoch() -> str:
    return uuid.uuid4().hex


async def widen(js: JetStream, drift: Drift) -> None:
    """Give a stream of an older version what it would be made with now."""
    assert drift.is_of_older_version
    found = await js.info(drift.stream)
    if found is not None:
        await js.api(f"STREAM.UPDATE.{drift.stream}", {**found.config, drift.setting: drift.wanted})


async def open_epoch(js: JetStream, stream: str) -> str:
    """Begin a new life of a stream, after a restore: no checkpoint or cursor of the old one holds."""
    found = await js.info(stream)
    if found is None:
        raise ValueError(f"there is no stream {stream}")
    epoch = new_epoch()
    metadata = {**(found.config.get("metadata") or {}), EPOCH: epoch}
    await js.api(f"STREAM.UPDATE.{stream}", {**found.config, "metadata": metadata})
    return epoch
