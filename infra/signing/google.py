"""Signing keys in Google Secret Manager: the enabled versions of one secret, asked for every minute.

Each version is a key (a JWK, a PEM, or a secret in hex or base64). The newest signs, once it has been there long enough
for every process to have read it; disabling or destroying a version ends what it signed. When Google does not answer
the former keys stay, and the log says so.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import msgspec
import structlog

from domain.errors import Unavailable
from infra.signing.key import BadKey, Key, KeySet, key_set, parse

log = structlog.get_logger()

URL = "https://secretmanager.googleapis.com"
"""https://cloud.google.com/secret-manager/docs/reference/rest; regional secrets have hosts of their own."""
METADATA_URL = "http://metadata.google.internal"
"""https://cloud.google.com/compute/docs/access/authenticate-workloads#applications"""

REFRESH_S = 60.0
SIGNS_AFTER_S = 2 * REFRESH_S + 30.0
"""A new version only verifies at first: by now every process has read it, even one whose first try failed."""
START_S_MAX = 30.0
"""How long a start waits for Google; without a key nothing can be signed."""
RETRY_S = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=10.0)
BODY_BYTES_MAX = 256 * 1024
"""A secret's payload has at most 64 KiB; a page of versions is smaller."""
VERSIONS_MAX = 25
"""Keys of one secret that are read: more than any rotation needs."""
RENEW_BEFORE_S = 300.0
"""The metadata server hands out the same token until five minutes before its end."""


class SecretRefused(Exception):
    """Google refuses, and will do so again: the secret's name or our rights are wrong."""


class AccessToken(Protocol):
    async def get(self) -> str:
        """A token good for one call. Raises Unavailable, or SecretRefused."""
        ...


class _Version(msgspec.Struct, rename="camel"):
    name: str
    create_time: datetime
    state: str = ""


class _Versions(msgspec.Struct, rename="camel"):
    versions: list[_Version] = []


class _Payload(msgspec.Struct, rename="camel"):
    data: str = ""
    data_crc32c: str | int | None = msgspec.field(name="dataCrc32c", default=None)


class _Accessed(msgspec.Struct):
    payload: _Payload


class _Added(msgspec.Struct):
    name: str


class SecretManager:
    """The calls that keys need. secret: projects/P/secrets/S."""

    def __init__(
        self, secret: str, token: AccessToken, *, url: str = URL, ca_file: Path | None = None
    ) -> None:
        self._base, self._secret, self._token = f"{url}/v1", secret, token
        self._tls = ssl.create_default_context(cafile=ca_file)

    async def versions(self) -> list[_Version]:
        """The enabled ones, newest first. Raises Unavailable or SecretRefused."""
        path = f"{self._secret}/versions?filter=state:ENABLED&pageSize={VERSIONS_MAX}"
        found = _decoded(await self._call("GET", path), _Versions).versions
        return [version for version in found[:VERSIONS_MAX] if version.state == "ENABLED"]

    async def payload(self, version: str) -> bytes:
        """version: as `versions` names it. Raises Unavailable or SecretRefused."""
        payload = _decoded(await self._call("GET", f"{version}:access"), _Accessed).payload
        try:
            content = base64.b64decode(payload.data, validate=True)
        except binascii.Error:
            raise Unavailable("Secret Manager's answer cannot be read") from None
        if payload.data_crc32c is not None and str(payload.data_crc32c) != str(crc32c(content)):
            raise Unavailable("Secret Manager's payload was damaged on its way")
        return content

    async def add(self, content: bytes) -> str:
        """A new version; its name. Raises Unavailable or SecretRefused."""
        data = base64.b64encode(content).decode()
        body = {"payload": {"data": data, "dataCrc32c": str(crc32c(content))}}
        return _decoded(await self._call("POST", f"{self._secret}:addVersion", body), _Added).name

    async def _call(self, method: str, path: str, body: Any = None) -> bytes:
        headers = {"Authorization": f"Bearer {await self._token.get()}"}
        return (await exchange(method, f"{self._base}/{path}", self._tls, headers, body))[0]


class GoogleSigningKeys:
    """api.emarsys.port.SigningKeys. `start` before the first `current`; `run` keeps them up to date."""

    def __init__(
        self,
        manager: SecretManager,
        *,
        now_s: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        refresh_s: float = REFRESH_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._manager, self._now_s, self._monotonic = manager, now_s, monotonic
        self._refresh_s, self._retry_s = refresh_s, retry_s
        self._by_version: dict[str, Key | None] = {}
        self._keys: KeySet | None = None

    def current(self) -> KeySet:
        assert self._keys is not None, "start() comes first"
        return self._keys

    async def start(self) -> None:
        """Read the keys; waits for Google for START_S_MAX. Raises Unavailable, SecretRefused or BadKey."""
        if self._keys is not None:
            return
        deadline_s = self._monotonic() + START_S_MAX
        while True:
            try:
                await self.refresh()
            except Unavailable:
                if self._monotonic() >= deadline_s:
                    raise
                await asyncio.sleep(self._retry_s)
            else:
                return

    async def run(self) -> None:
        """For ever: every minute. What goes wrong is logged, and the former keys stay."""
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.refresh()
            except (Unavailable, SecretRefused, BadKey) as error:
                log.error("signing-keys-unusable", reason=str(error))

    async def refresh(self) -> None:
        """Ask once. Versions never change, so only new ones are read. Raises Unavailable, SecretRefused or BadKey."""
        versions = await self._manager.versions()
        refusals = await self._read_new(versions)
        there = {version.name for version in versions}
        self._by_version = {name: key for name, key in self._by_version.items() if name in there}
        if refusals and not any(self._by_version.values()):
            raise refusals[0]
        keys = self._set(versions)
        if self._keys is None or keys != self._keys:
            log.info("signing-keys-read", signing=keys.signing.kid, keys=len(keys.verifying))
            self._keys = keys

    async def _read_new(self, versions: list[_Version]) -> list[SecretRefused]:
        """What Google refuses to show is passed over: it may have been disabled just now, or the key that it is
        encrypted with. It is asked for again next time.
        """
        refusals = list[SecretRefused]()
        for version in versions:
            if version.name in self._by_version:
                continue
            try:
                content = await self._manager.payload(version.name)
            except SecretRefused as refusal:
                log.error("signing-key-unusable", reason=f"{version.name}: {refusal}")
                refusals.append(refusal)
            else:
                self._by_version[version.name] = _key_of(version, content)
        return refusals

    def _set(self, versions: list[_Version]) -> KeySet:
        """Newest first; the newest signs that every process knows by now, else the oldest there is."""
        usable = [(version, key) for version in versions if (key := self._by_version.get(version.name))]
        settled = [key for version, key in usable if self._age_s(version) >= SIGNS_AFTER_S]
        keys = [key for _, key in usable]
        signing = settled[0] if settled else keys[-1] if keys else None
        return key_set(keys, source="the secret", signing=signing)

    def _age_s(self, version: _Version) -> float:
        return self._now_s() - version.create_time.timestamp()


def _key_of(version: _Version, content: bytes) -> Key | None:
    """One unusable version must not take the others away: it is reported, and passed over."""
    try:
        [key] = parse(content, source=version.name)
    except ValueError as error:
        reason = str(error) if isinstance(error, BadKey) else f"{version.name}: write one key a version"
        log.error("signing-key-unusable", reason=reason)
        return None
    return key


class MetadataToken:
    """The token of the machine's own service account. now_s: seconds, of any clock that only goes on."""

    def __init__(self, url: str = METADATA_URL, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._url = f"{url}/computeMetadata/v1/instance/service-accounts/default/token"
        self._now_s, self._token, self._ends_s = now_s, "", 0.0

    async def get(self) -> str:
        if self._now_s() >= self._ends_s:
            body, headers = await exchange("GET", self._url, None, {"Metadata-Flavor": "Google"})
            if headers.get("Metadata-Flavor") != "Google":
                raise SecretRefused("what answers as the metadata server is not Google's")
            said = _decoded(body, _MachineToken)
            self._token = said.access_token
            self._ends_s = self._now_s() + said.expires_in - RENEW_BEFORE_S
        return self._token


class _MachineToken(msgspec.Struct):
    access_token: str
    expires_in: float


class AccountToken:
    """The token of a service account's key file."""

    def __init__(self, credentials: Mapping[str, Any], *, ca_file: Path | None = None) -> None:
        from gateways.keys.google_token import GoogleToken

        self._token = GoogleToken(credentials, ca_file=str(ca_file) if ca_file else None)

    async def get(self) -> str:
        from gateways.keys.google_token import TokenRefused, TokenUnavailable

        try:
            return await self._token.get(timeout_s=TIMEOUT.total or 10.0)
        except TokenUnavailable as error:
            raise Unavailable(f"Google gives no token: {error}") from None
        except TokenRefused as error:
            raise SecretRefused(f"Google refuses the service account: {error}") from None

    async def aclose(self) -> None:
        await self._token.aclose()


async def exchange(
    method: str, url: str, tls: ssl.SSLContext | None, headers: Mapping[str, str], body: Any = None
) -> tuple[bytes, Mapping[str, str]]:
    """One call on a connection of its own, since they are few. Raises Unavailable or SecretRefused."""
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(
                method, url, json=body, headers=headers, ssl=tls or True, allow_redirects=False
            ) as answer,
        ):
            content = await _body(answer)
            if answer.status == 200:
                return content, answer.headers
            reason = f"Google answers {answer.status}{_said(content)}"
            if answer.status in {408, 429} or answer.status >= 500:
                raise Unavailable(reason)
            raise SecretRefused(reason)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"Google does not answer: {type(error).__name__}") from None


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    content = b""
    async for part in answer.content.iter_chunked(BODY_BYTES_MAX):
        content += part
        if len(content) > BODY_BYTES_MAX:
            raise Unavailable("Google's answer is too long to be one")
    return content


def _said(content: bytes) -> str:
    """The status word of Google's error model; its message may name more than a log should."""
    try:
        status = msgspec.json.decode(content)["error"]["status"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    return f" {status}" if isinstance(status, str) and re.fullmatch(r"[A-Z_]{1,40}", status) else ""


def _decoded[T](body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unavailable("Google's answer cannot be read") from None


def crc32c(content: bytes) -> int:
    """Castagnoli's CRC (RFC 3720, appendix B.4): how Secret Manager guards a payload."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
