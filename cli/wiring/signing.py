"""The keys that sign devices' tokens, from where the settings say: opened, kept up to date, told of, rotated."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cli.console import Failure
from cli.session import Session, now
from domain.errors import Unavailable
from infra.configuration.datafolder import is_private
from infra.secrets import KEY_BYTES, KeyInfo
from infra.settings import Settings
from infra.signing.environment import SOURCE, FixedSigningKeys
from infra.signing.folder import add_key
from infra.signing.key import BadKey

if TYPE_CHECKING:
    from api.emarsys.port import SigningKeys, SigningKeySet
    from infra.signing.google import SecretManager

_REMOTE = "gsm://"


@asynccontextmanager
async def signing_keys(session: Session) -> AsyncIterator[SigningKeys]:
    """The keys, kept up to date meanwhile. Raises Failure, one line that says what to mend, or Unavailable."""
    if not session.settings.sdk_keys.secret:
        yield local_keys(session)
        return
    from infra.signing.google import GoogleSigningKeys, SecretRefused

    async with _secret_manager(session.settings) as manager:
        keys = GoogleSigningKeys(manager)
        try:
            await keys.start()
        except (SecretRefused, BadKey) as error:
            raise _refused(session, error) from None
        async with asyncio.TaskGroup() as group:
            following = group.create_task(keys.run(), name="signing-keys")
            yield keys
            following.cancel()


def local_keys(session: Session) -> SigningKeys:
    """The keys of the environment, of a file or of the data folder. Raises Failure."""
    from infra.signing.files import FileSigningKeys

    settings = session.settings.sdk_keys
    try:
        if settings.content is not None:
            return FixedSigningKeys(settings.content.reveal())
        return FileSigningKeys(settings.source or session.folder.sdk)
    except BadKey as error:
        named = f"{SOURCE}_FILE: " if settings.source is not None else ""
        raise Failure(f"{named}{error}") from None


async def check_signing(session: Session) -> None:
    """Raises Failure for keys that cannot be used, before anything starts. Google is asked once: while it does not
    answer, whoever uses its keys waits for them.
    """
    if not session.settings.sdk_keys.secret:
        local_keys(session)
        return
    import structlog

    from infra.signing.google import GoogleSigningKeys, SecretRefused

    async with _secret_manager(session.settings) as manager:
        try:
            await GoogleSigningKeys(manager).refresh()
        except (SecretRefused, BadKey) as error:
            raise _refused(session, error) from None
        except Unavailable as error:
            structlog.get_logger().warning("signing-keys-unknown", reason=str(error))


async def describe_signing(session: Session) -> list[KeyInfo]:
    """All keys by their kids, the one that signs first. Raises Failure or Unavailable."""
    async with signing_keys(session) as keys:
        return _rows(session, keys.current())


async def rotate_signing(session: Session) -> str:
    """Make a new key that signs from now on; what to say of it. Raises Failure or Unavailable."""
    settings = session.settings.sdk_keys
    if settings.content is not None or settings.source is not None:
        raise Failure(f"{SOURCE} is set: rotate the keys where they are made")
    if not settings.secret:
        return f"devices' tokens are signed by {add_key(session.folder.sdk, now=now())} from now on"
    from infra.signing.google import SecretRefused

    async with _secret_manager(session.settings) as manager:
        try:
            name = await manager.add(secrets.token_bytes(KEY_BYTES).hex().encode())
        except SecretRefused as error:
            raise _refused(session, error) from None
    return f"devices' tokens are signed by {name} once every process has read it, in less than three minutes"


def _refused(session: Session, error: Exception) -> Failure:
    return Failure(f"{SOURCE}={_REMOTE}{session.settings.sdk_keys.secret}: {error}")


@asynccontextmanager
async def _secret_manager(settings: Settings) -> AsyncIterator[SecretManager]:
    """With the service account of the settings, else with the machine's own."""
    from infra.signing.google import URL, AccountToken, MetadataToken, SecretManager

    sdk, ca_file = settings.sdk_keys, settings.ca_file
    url = sdk.url or URL
    if sdk.credentials_file is None:
        yield SecretManager(sdk.secret, MetadataToken(), url=url, ca_file=ca_file)
        return
    token = AccountToken(_credentials(sdk.credentials_file), ca_file=ca_file)
    try:
        yield SecretManager(sdk.secret, token, url=url, ca_file=ca_file)
    finally:
        await token.aclose()


def _credentials(file: Path) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        raise Failure(f"{file} is no service account's key file: MSGXC_SDK_KEYS_CREDENTIALS_FILE") from None


def _rows(session: Session, keys: SigningKeySet) -> list[KeyInfo]:
    settings = session.settings.sdk_keys
    folder = settings.source or session.folder.sdk
    remote = f"{_REMOTE}{settings.secret}" if settings.secret else SOURCE
    is_local = settings.content is None and not settings.secret
    rows = []
    for key in sorted(keys.verifying, key=lambda each: each is not keys.signing):
        name = "sdk, signing" if key is keys.signing else "sdk"
        file = _file_of(folder, key.kid) if is_local else None
        rows.append(KeyInfo(name, key.kid, str(file or remote), file is None or is_private(file)))
    return rows


def _file_of(source: Path, kid: str) -> Path:
    """Where a key is: our own files are named by their kid."""
    if not source.is_dir():
        return source
    return next((file for file in source.iterdir() if file.stem == kid), source)
