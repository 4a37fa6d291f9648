"""Signing keys in a folder or a file, read again when they change: no restart for a rotation.

In a folder each *.json (JWK) or *.pem is a key, and the newest by name signs; in a file, the first one does. A changed
source that cannot be used is reported, and the former keys stay.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from infra.datafolder import private_file
from infra.signing.key import BadKey, Key, KeySet, key_set, parse

log = structlog.get_logger()

LOOK_AGAIN_S = 0.5
"""A key that was taken away verifies nothing a second later."""
SIGNS_AFTER_S = 2.0
"""A new key only verifies at first: whoever reads its first token must have seen it, too."""

Stamp = tuple[tuple[str, int, int], ...]


class FileSigningKeys:
    """api.emarsys.port.SigningKeys over a file or a folder. Raises BadKey when made over one that cannot be used."""

    def __init__(
        self,
        source: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._monotonic, self._now_s = source, monotonic, now_s
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
        except BadKey as error:
            log.error("signing-keys-unusable", reason=str(error))
        else:
            log.info("signing-keys-read", signing=self._keys.signing.kid, keys=len(self._keys.verifying))

    def _read(self) -> KeySet:
        found: list[Key] = []
        signing: Key | None = None
        for file in _files(self._source):
            try:
                of_file = parse(file.read_bytes(), source=str(file), kid=_name(file, self._source))
            except OSError as error:
                raise BadKey(f"{file} cannot be read ({error.strerror}): mend its rights") from error
            found += of_file
            if self._source.is_dir() and (signing is None or self._is_settled(file)):
                signing = of_file[0]
        return key_set(found, source=str(self._source), signing=signing)

    def _is_settled(self, file: Path) -> bool:
        return self._now_s() - file.stat().st_mtime >= SIGNS_AFTER_S

    def _look(self) -> Stamp:
        """What the files look like; it changes once more when a new key may sign."""
        try:
            return tuple(
                (file.name, (stat := file.stat()).st_mtime_ns + self._is_settled(file), stat.st_size)
                for file in _files(self._source)
            )
        except OSError:
            return ()


def add_key(folder: Path, *, now: datetime) -> str:
    """Make a secret of HS256 that signs from now on (docs/adr/0050); its kid, which begins with the time."""
    kid = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    jwk = {"kty": "oct", "alg": "HS256", "use": "sig", "kid": kid, "k": secrets.token_urlsafe(32)}
    content = msgspec.json.format(msgspec.json.encode(jwk))
    private_file(folder / f"{kid}.json", lambda: content + b"\n")
    return kid


def ensure_key(folder: Path, *, now: datetime) -> None:
    """Make the first key where there is none."""
    if not _files(folder):
        add_key(folder, now=now)


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    return sorted(file for file in source.iterdir() if file.suffix in {".json", ".pem"})


def _name(file: Path, source: Path) -> str:
    """A key without a kid of its own in a folder is named by its file."""
    return file.stem if source.is_dir() else ""
