"""Where the suite's queue is, as the environment says it. Opens nothing."""

from __future__ import annotations

import msgspec

from infra.configuration.environment import Environment, Secret, SettingsError, check_url

QUEUE = "msgxc.contact-updates"


class RabbitMq(msgspec.Struct, frozen=True):
    """url None: no suite is told anything."""

    url: Secret | None = None
    queue: str = QUEUE


def read_rabbitmq(env: Environment) -> RabbitMq:
    """Raises SettingsError."""
    return RabbitMq(
        url=env.secret(
            "RABBITMQ_URL", check=_is_url, example="amqps://user:password@rabbit.example.org/vhost"
        ),
        queue=env.text("RABBITMQ_QUEUE", QUEUE, like=r"[A-Za-z0-9._:-]{1,255}", example=QUEUE),
    )


def _is_url(text: str) -> bool:
    try:
        check_url(text, schemes=("amqp", "amqps"), fail=lambda: SettingsError(""))
    except SettingsError:
        return False
    return True
