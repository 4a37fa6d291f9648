"""What every command begins with: settings, the data folder, the keys, and a loop to run in."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from cli.console import USAGE, fail
from infra.configuration.datafolder import DataFolder
from infra.secrets import Keyring, open_keyring
from infra.settings import Settings, SettingsError, load
from infra.signing.folder import ensure_key

ENV_FILE = Path(".env")


@dataclass(frozen=True, slots=True)
class Session:
    settings: Settings
    folder: DataFolder
    keyring: Keyring


def read_settings() -> Settings:
    """Settings of the environment and ./.env; a wrong one ends the command with what to write."""
    try:
        return load(env_file=ENV_FILE)
    except SettingsError as error:
        fail(str(error), code=USAGE)


def is_begun(settings: Settings) -> bool:
    """Whether the exchange that the settings mean has its keys: nothing else is there before."""
    return settings.keys.id is not None or DataFolder(settings.data_dir).id_key.exists()


def open_session() -> Session:
    """Settings, folder and keys; keys are made where they are missing."""
    settings = read_settings()
    folder = DataFolder(settings.data_dir).prepare()
    if settings.sdk_keys.is_unset:
        ensure_key(folder.sdk, now=now())
    return Session(settings, folder, open_keyring(folder, settings.keys, now=now()))


def begun_session() -> Session:
    """The same for what looks at an exchange or changes it: ends the command where none was ever started."""
    settings = read_settings()
    if not is_begun(settings):
        no_keys(DataFolder(settings.data_dir))
    return open_session()


def no_keys(folder: DataFolder) -> NoReturn:
    """End the command: whatever it made or read with keys of its own, nobody would believe."""
    fail(
        f"there are no keys in {folder.path} yet: start msgxc serve or msgxc keys make, which make them, "
        "or set MSGXC_DATA_DIR to where they are"
    )


def now() -> datetime:
    return datetime.now(UTC)


def run_async[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on a fast event loop, to its end. Unless it serves, it logs warnings alone."""
    import structlog

    if not structlog.is_configured():
        from infra.figures.telemetry import configure_logging, hush_cassandra

        configure_logging("warning")
        hush_cassandra()
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
