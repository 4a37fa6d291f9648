"""When a message is to go out: by which of its events, and what it says then, for the dispatcher and the feeder."""

from __future__ import annotations

from commands.port import EventStore
from domain.message import Message
from domain.recorded import Recorded


def is_due(fact: Recorded) -> bool:
    """Whether this is the message's one event by which it is to be sent and shown."""
    match fact.body:
        case Message.Accepted(scheduled_at=None) | Message.Due():
            return True
        case _:
            return False


async def message_due(fact: Recorded, store: EventStore) -> Message | None:
    """The message of such an event: out of it, where it says all of it, else as it is by now."""
    if isinstance(fact.body, Message.Accepted):
        accepted: Message | None = fact.body.mutate(None)
        return accepted
    assert isinstance(fact.body, Message.Due)
    return await store.load(Message, fact.body.originator_id, fresh=True)
