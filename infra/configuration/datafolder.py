"""The data folder: where it is, who may look into it, and that one exchange uses it at a time.

Owns its layout, its mode (0700) and its lock. Never knows what the files in it mean, and never deletes one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

LOCK_WAIT_S: Final = 3.0
"""How long a start waits for an exchange that was told to stop a moment ago."""

LOCK_POLL_S: Final = 0.05


class DataFolderError(Exception):
    """The data folder cannot be used; one line that says what to do."""


class DataFolder(msgspec.Struct, frozen=True):
    path: Path

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def id_key(self) -> Path:
        return self.keys / "id.key"

    @property
    def jwt(self) -> Path:
        return self.keys / "jwt"

    @property
    def sdk(self) -> Path:
        return self.keys / "sdk"

    @property
    def nats(self) -> Path:
        return self.path / "nats"

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def sandbox(self) -> Path:
        return self.path / "sandbox"

    @property
    def serving(self) -> Path:
        """Where a running exchange says how to reach it: address, log, process."""
        return self.path / "serving.json"

    def prepare(self) -> DataFolder:
        """Make the folder, or check that it is ours alone. Raises DataFolderError."""
        try:
            for folder in (self.path, self.keys, self.jwt, self.sdk):
                folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise DataFolderError(
                f"the data folder {self.path} cannot be made ({error.strerror}): set MSGXC_DATA_DIR to one that can"
            ) from error
        for folder in (self.path, self.keys, self.jwt, self.sdk):
            if folder.stat().st_uid == os.getuid():
                folder.chmod(FOLDER_MODE)
        return self

    @contextlib.contextmanager
    def held(self, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """The folder is this process's until the end; a killed holder gives it up by dying.

        Raises DataFolderError when another exchange has it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            self._take(descriptor, time.monotonic() + wait_s)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The process that has the folder now, if one has."""
        try:
            with (self.path / "lock").open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read(20).strip() or b"0")
        except (OSError, ValueError):
            pass
        return None

    def _take(self, descriptor: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    pid = os.pread(descriptor, 20, 0).decode().strip() or "?"
                    raise DataFolderError(
                        f"the data folder {self.path} is in use by process {pid}: "
                        "stop it, or set MSGXC_DATA_DIR to another folder"
                    ) from None
                time.sleep(LOCK_POLL_S)
            else:
                return


def private_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of `path`; made first where it is missing, with mode 0600, whole or not at all.

    Of several processes that make it at once one wins, and all get its content.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    content = make()
    temporary = _beside(path)
    try:
        _write_synced(temporary, content)
        os.link(temporary, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return content


def replace_private_file(path: Path, content: bytes) -> None:
    """Write `path` anew with mode 0600; a reader sees the old content or the new, never a part."""
    temporary = _beside(path)
    _write_synced(temporary, content)
    temporary.replace(path)
    _sync_folder(path.parent)


def is_private(path: Path) -> bool:
    """Whether nobody but the owner may read or write it."""
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{token_hex(4)}")


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
