"""Which exceptions are expected, and what the person at the terminal is told. All others are bugs and keep their
traceback.
"""

from __future__ import annotations

from cli.console import Failure
from domain.errors import MsgxcError
from infra.datafolder import DataFolderError
from infra.environment import SettingsError
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
    if isinstance(error, EXPECTED):
        return " ".join(str(error).split()) or type(error).__name__
    return None
