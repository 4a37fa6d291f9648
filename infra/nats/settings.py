"""Where the NATS server is and how we sign in, as the environment says it. Opens no connection."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from infra.configuration.credentials import is_nats_creds
from infra.configuration.environment import Environment, Secret, SettingsError, check_url

_URL = re.compile(r"(?:nats|tls)://[^\s,]+")


class Nats(msgspec.Struct, frozen=True):
    """url None: an embedded server; a secret, since it may hold a password. Several are divided by commas.

    sync: "always", or how often the embedded server flushes (`2m`).
    """

    url: Secret | None
    creds: Path | None
    sync: str
    replicas: int

    @property
    def embedded(self) -> bool:
        return self.url is None


def read_nats(env: Environment) -> Nats:
    """Raises SettingsError."""
    url = _url(env)
    nats = Nats(
        url=url,
        creds=env.file("NATS_CREDS", holds=is_nats_creds, example="a user's .creds file, as nsc makes it"),
        sync=env.text(
            "NATS_SYNC",
            "always" if url is None else "2m",
            like=r"always|[1-9]\d*(?:ms|s|m)",
            example="always, or 2m",
        ),
        replicas=env.number("NATS_REPLICAS", 1, least=1, most=5),
    )
    if nats.embedded and nats.creds is not None:
        raise SettingsError("MSGXC_NATS_CREDS is set, but not MSGXC_NATS_URL: set it too, or neither")
    if nats.embedded and nats.replicas > 1:
        raise SettingsError(
            f"MSGXC_NATS_REPLICAS={nats.replicas}: the embedded server is one; write 1, or set MSGXC_NATS_URL "
            "to a cluster"
        )
    return nats


def _url(env: Environment) -> Secret | None:
    given = env.secret(
        "NATS_URL",
        check=lambda text: bool(_divided(text)) and all(map(_URL.fullmatch, _divided(text))),
        example="a list like nats://10.0.0.1:4222,nats://10.0.0.2:4222",
    )
    if given is None:
        return None
    urls = _divided(given.reveal())
    for url in urls:
        check_url(
            url,
            schemes=("nats", "tls"),
            fail=lambda: SettingsError("MSGXC_NATS_URL: write nats://host:4222, several divided by commas"),
        )
    return Secret(",".join(urls))


def _divided(text: str) -> list[str]:
    return [url.strip() for url in text.split(",") if url.strip()]
