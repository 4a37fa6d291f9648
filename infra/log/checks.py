"""Whether a log may be read on from a checkpoint: same epoch, long enough, same fact at the position."""

from __future__ import annotations

from domain.recorded import Checkpoint
from infra.eventstore.wire import digest_of
from infra.nats.guard import Guard, OtherLog
from infra.nats.jetstream import JetStream
from infra.nats.streams import epoch_of
from processes.port import LogMismatch


async def assert_continues(js: JetStream, guard: Guard, at: Checkpoint) -> None:
    """Raises LogMismatch, or Unavailable when the log can't be asked."""
    stream = at.stream
    try:
        await guard.assert_same(stream)
    except OtherLog as other:
        raise LogMismatch(str(other)) from None
    info = await js.info(stream)
    if info is None:
        raise LogMismatch(f"there is no stream {stream}")
    if at.epoch != epoch_of(info):
        raise LogMismatch(f"{stream} is in epoch {epoch_of(info)}, the checkpoint in {at.epoch}")
    if at.position > info.state.last_seq:
        raise LogMismatch(f"{stream} ends at {info.state.last_seq}, the checkpoint is at {at.position}")
    if not at.digest:
        return
    found = await js.leader_get(stream, seq=at.position)
    if found is None:
        if at.position >= info.state.first_seq and info.config.get("deny_delete"):
            raise LogMismatch(f"{stream} has lost what was at {at.position}")
    elif digest_of(found) != at.digest:
        raise LogMismatch(f"{stream} holds another fact at {at.position} than the checkpoint")
