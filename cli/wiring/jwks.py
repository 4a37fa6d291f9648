"""The keys that tokens are verified with, read again when their files change: no restart for a rotation.

A changed set that cannot be used is reported and the former one stays, so that a typing mistake locks nobody out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from api.access.keys import BadKeys, Key, KeySet, key_set, parse_jwks
from cli.session import Session
from infra.secrets import SecretsError, read_jwks
from infra.settings import SettingsError

log = structlog.get_logger()

LOOK_AGAIN_S = 0.5
"""A key that was taken away verifies nothing a second later."""


def verifying_keys(session: Session) -> FileKeys:
    """Those of MSGXC_JWT_KEYS, else of the data folder. Raises SettingsError or SecretsError for keys that cannot be
    used, and where there is none: then nobody could sign in.
    """
    source = session.keyring.jwt
    try:
        keys = FileKeys(source)
        if not keys.current().keys:
            raise SecretsError(f"{source} holds no key: write a JWKS, or a folder of JWKs (*.json)")
    except SecretsError as error:
        if session.settings.keys.jwt is None:
            raise
        raise SettingsError(f"MSGXC_JWT_KEYS: {error}") from error
    return keys


class FileKeys:
    """api.port.KeySource over a JWKS file or a folder of them."""

    def __init__(self, source: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source, self._monotonic = source, monotonic
        self._stamp = self._look()
        self._keys = self._read()
        self._looked_s = monotonic()

    def current(self) -> KeySet:
        now_s = self._monotonic()
        if now_s - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = now_s
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                self._refresh()
        return self._keys

    def _refresh(self) -> None:
        try:
            self._keys = self._read()
        except SecretsError as error:
            log.error("jwt-keys-unusable", reason=str(error))
        else:
            log.info("jwt-keys-read", keys=len(self._keys.keys))

    def _read(self) -> KeySet:
        name = str(self._source)
        try:
            found: list[Key] = []
            for jwk in read_jwks(self._source):
                found += parse_jwks(jwk, source=name)
            return key_set(found, source=name)
        except BadKeys as error:
            raise SecretsError(str(error)) from error

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        files = sorted(self._source.glob("*.json")) if self._source.is_dir() else [self._source]
        try:
            return tuple((file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)
        except OSError:
            return ()
