"""What all push channels say alike."""

from __future__ import annotations

from uuid import UUID, uuid4, uuid5

from gateways.port import Target
from gateways.rendering import repeat_id, repeat_ids

MESSAGE = UUID("8c5e3ad4-0f6b-8d11-9a3e-0123456789ab")


def test_a_repeat_has_the_same_id() -> None:
    """It is UUIDv5 of message and client: by its client, else its contact, else the message; one by one or many."""
    clients = [uuid4() for _ in range(50)]
    targets = [Target("a", uuid4(), client) for client in clients]
    targets += [Target("a", clients[0], None), Target("a", None, None)]
    expected = [str(uuid5(MESSAGE, name.hex)) for name in (*clients, clients[0], MESSAGE)]
    assert repeat_ids(MESSAGE, targets) == [repeat_id(MESSAGE, target) for target in targets] == expected
