"""Signing keys in a folder or a file, read again when they change: no restart for a rotation.

In a folder each *.json (JWK) or *.pem is a key, and the newest by name signs; in a file, the first one does. A changed
source that cannot be used is reported, and the former keys stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from infra.signing.folder import key_files
from infra.signing.key import BadKey, Key, KeySet, key_set, parse

log = structlog.get_logger()

LOOK_AGAIN_S = 0.5
"""A key that was taken away verifies nothing a second later."""
SIGNS_AFTER_S = 2.0
"""A new key only verifies at first: whoever reads its first token must have seen it, too. Counted from when its file
was made or put there, since a process looks when it is asked, and may not have been asked for long."""

Stamp = tuple[tuple[str, int, int, float], ...]
"""Name, mtime, size and ctime (seconds) of each file."""


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
        self._stamp = _look(source)
        self._keys = _read(source)
        self._looked_s = monotonic()
        self._signs_s: float | None = None
        """When a new key begins to sign."""

    def current(self) -> KeySet:
        now_s = self._monotonic()
        if now_s - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = now_s
            stamp = _look(self._source)
            if stamp != self._stamp or (self._signs_s is not None and now_s >= self._signs_s):
                self._stamp = stamp
                self._refresh(now_s)
        return self._keys

    def _refresh(self, now_s: float) -> None:
        try:
            self._keys = self._in_turn(_read(self._source), now_s)
        except BadKey as error:
            log.error("signing-keys-unusable", reason=str(error))
        else:
            log.info("signing-keys-read", signing=self._keys.signing.kid, keys=len(self._keys.verifying))

    def _in_turn(self, read: KeySet, now_s: float) -> KeySet:
        """What was read, but the former key goes on signing for a moment, unless it was taken away."""
        kid = self._keys.signing.kid
        former = next((key for key in read.verifying if key.kid == kid), read.signing)
        if former.kid == read.signing.kid:
            self._signs_s = None
            return read
        if self._signs_s is None:
            self._signs_s = now_s + SIGNS_AFTER_S - self._age_s()
        if now_s >= self._signs_s:
            self._signs_s = None
            return read
        return KeySet(former, read.verifying)

    def _age_s(self) -> float:
        """How long ago the last of the files changed."""
        return max(0.0, self._now_s() - max((ctime_s for *_, ctime_s in self._stamp), default=0.0))


def _read(source: Path) -> KeySet:
    found, file = list[Key](), source
    try:
        for file in key_files(source):
            found += parse(file.read_bytes(), source=str(file), kid=_name(file, source))
        newest = found[-1] if found and source.is_dir() else None
    except OSError as error:
        raise BadKey(f"{file} cannot be read ({error.strerror}): mend its rights") from error
    return key_set(found, source=str(source), signing=newest)


def _look(source: Path) -> Stamp:
    try:
        return tuple(
            (file.name, (stat := file.stat()).st_mtime_ns, stat.st_size, stat.st_ctime)
            for file in key_files(source)
        )
    except OSError:
        return ()


def _name(file: Path, source: Path) -> str:
    """A key without a kid of its own in a folder is named by its file."""
    return file.stem if source.is_dir() else ""
