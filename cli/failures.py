"""Which exceptions are expected, and what the person at the terminal is told. All others are bugs and keep their
traceback.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cli.console import Failure
from domain.errors import MsgxcError
from infra.configuration.datafolder import DataFolderError
from infra.configuration.environment import SettingsError
from infra.nats.server import DataFolderInUse, ServerFailed
from infra.secrets import SecretsError
from processes.port import LogMismatch

EXPECTED = (
    Failure,
    MsgxcError,
    DataFolderError,
    DataFolderInUse,
    LogMismatch,
    SecretsError,
    ServerFailed,
    SettingsError,
)


def told(error: BaseException) -> str | None:
    """One line, or None for a bug. Of a group of failures the first expected one speaks."""
    if isinstance(error, BaseExceptionGroup):
        return next((line for line in map(told, error.exceptions) if line is not None), None)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, EXPECTED):
        return _one_line(str(error)) or type(error).__name__
    return None


def is_unheard(error: BaseException) -> bool:
    """Whether nobody reads on, as after `| head`: there is nobody to tell, either."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_unheard, error.exceptions))
    return isinstance(error, BrokenPipeError)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system refuses of an open file names the file: its own error does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _of_system(error: OSError) -> str | None:
    """What the system refused, and of which file. Without a number it is none of the system's: a time-out of ours."""
    if error.errno is None:
        return None
    said = error.strerror or os.strerror(error.errno)
    where = error.filename
    return _one_line(f"{os.fsdecode(where)}: {said}" if isinstance(where, str | bytes) and where else said)


def _one_line(text: str) -> str:
    return " ".join(text.split())
