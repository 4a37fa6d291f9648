"""What the environment says about the doppler contract."""

from __future__ import annotations

from pathlib import Path

import msgspec

from domain.context import DEFAULT_REALM
from infra.configuration.environment import Environment, Secret, is_visible_ascii, key_size

_HTTP = ("http", "https")


class Doppler(msgspec.Struct, frozen=True):
    """keys: of the superusers' tokens, a file or a folder. link_key, link_iv: of links that the original made.

    link_realms: where the messages are that such links name.
    visitors_url: where visitors with a mail address are told to, with visitors_token.
    """

    keys: Path | None
    link_key: Secret | None
    link_iv: Secret | None
    link_realms: tuple[str, ...]
    visitors_url: str
    visitors_token: Secret | None


def read_doppler(env: Environment) -> Doppler:
    env.together("DOPPLER_LINK_KEY", "DOPPLER_LINK_IV")
    env.together("DOPPLER_VISITORS_URL", "DOPPLER_VISITORS_TOKEN")
    return Doppler(
        keys=env.file("DOPPLER_KEYS", folder_too=True),
        link_key=env.secret(
            "DOPPLER_LINK_KEY",
            check=lambda text: key_size(text) in (16, 24, 32),
            example="an AES key in base64",
        ),
        link_iv=env.secret(
            "DOPPLER_LINK_IV", check=lambda text: key_size(text) == 16, example="16 bytes in base64"
        ),
        link_realms=env.names(
            "DOPPLER_LINK_REALMS", DEFAULT_REALM, like=r"[A-Za-z0-9._-]{1,64}", example="main,acme"
        ),
        visitors_url=env.url("DOPPLER_VISITORS_URL", schemes=_HTTP, example="https://app.example.org"),
        visitors_token=env.secret(
            "DOPPLER_VISITORS_TOKEN", check=is_visible_ascii, example="the token that is asked for there"
        ),
    )
