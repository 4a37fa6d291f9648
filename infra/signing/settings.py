"""Where signing keys come from, as the environment says it. Opens nothing."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from infra.configuration.credentials import is_service_account
from infra.configuration.environment import Environment, Secret, SettingsError

GOOGLE_SECRET = re.compile(
    r"gsm://(projects/[a-z0-9:.-]{1,63}(?:/locations/[a-z0-9-]{1,40})?/secrets/[A-Za-z0-9_-]{1,255})"
)


class SdkKeys(msgspec.Struct, frozen=True):
    """What signs devices' tokens; none of them: the keys in the data folder.

    content: keys themselves. source: a file or folder that is read again when it changes. secret: projects/P/secrets/S
    in Google Secret Manager; credentials_file None: the machine's own service account.
    """

    content: Secret | None = None
    source: Path | None = None
    secret: str = ""
    credentials_file: Path | None = None
    url: str = ""

    @property
    def is_unset(self) -> bool:
        return self.content is None and self.source is None and not self.secret


def read_sdk_keys(env: Environment) -> SdkKeys:
    """Raises SettingsError."""
    text, source = env.text("SDK_KEYS"), env.file("SDK_KEYS_FILE", folder_too=True)
    if text and source is not None:
        raise SettingsError("MSGXC_SDK_KEYS and MSGXC_SDK_KEYS_FILE are both set: keep one of them")
    secret = ""
    if text.startswith("gsm:"):
        named = GOOGLE_SECRET.fullmatch(text)
        if named is None:
            raise SettingsError("MSGXC_SDK_KEYS: write gsm://projects/my-project/secrets/my-secret")
        secret, text = named[1], ""
    return SdkKeys(
        content=Secret(text) if text else None,
        source=source,
        secret=secret,
        credentials_file=env.file(
            "SDK_KEYS_CREDENTIALS_FILE", holds=is_service_account, example="a service account's JSON file"
        ),
        url=env.url(
            "SDK_KEYS_URL", schemes=("http", "https"), example="https://secretmanager.googleapis.com"
        ),
    )
