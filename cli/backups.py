"""`msgxc backup` and `msgxc restore`: the log as of one moment, and, into a place of their own, the keys.

Without the keys a copy of the log shows nothing of people: whoever keeps both together gives that away. A restore
begins a new epoch of every stream, so that no checkpoint or cursor of the former life is taken for one of this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.console import Failure
from cli.examples import examples
from cli.session import begun_session, open_session, read_settings, run_async

BACKUP_EXAMPLES = examples(
    "msgxc backup /backups/monday --keys /vault/msgxc-monday",
    "msgxc backup /backups/monday   # the log alone",
)
RESTORE_EXAMPLES = examples(
    "MSGXC_DATA_DIR=/srv/msgxc msgxc restore /backups/monday --keys /vault/msgxc-monday",
)


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the log.")],
    keys: Annotated[Path | None, typer.Option(help="Another new folder, for the keys.")] = None,
) -> None:
    """Copy the log as of one moment, and its keys apart.

    Work on the log rests meanwhile; publishes are still taken.
    """
    for target in filter(None, (folder, keys)):
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise Failure(f"{target} is not an empty folder: name a new one")
    if keys is not None and _is_within(folder, keys):
        raise typer.BadParameter(
            f"{keys} and {folder} would be kept together: name folders of which none is in the other",
            param_hint="--keys",
        )
    from cli.upkeep.copies import backup as copy

    run_async(copy(begun_session(), folder, keys))


def _is_within(one: Path, other: Path) -> bool:
    """Whether two folders are the same, or either is in the other, whatever links lead there."""
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def restore(
    folder: Annotated[Path, typer.Argument(help="The log's backup.")],
    keys: Annotated[
        Path | None, typer.Option(help="The keys' backup; else those of the settings are used.")
    ] = None,
) -> None:
    """Bring a backup back where there is no log yet.

    Into an empty data folder or a cluster without streams; begins a new epoch.
    """
    from cli.upkeep.copies import assert_keys_of, read_manifest, restore_key_files
    from cli.upkeep.copies import restore as bring_back
    from infra.configuration.datafolder import DataFolder
    from infra.secrets import key_id

    manifest = read_manifest(folder)
    if keys is not None:
        assert_keys_of(manifest, keys)
        restore_key_files(keys, DataFolder(read_settings().data_dir))
    elif (settings := read_settings()).keys.id is None and not DataFolder(settings.data_dir).id_key.exists():
        # Before the folder's keys are made: they would stand in the way of the right ones.
        raise Failure(
            f"the backup's id key is {manifest.id_key}: give its keys by --keys, or set MSGXC_ID_KEY"
        )
    session = open_session()
    if key_id(session.keyring.id_key) != manifest.id_key:
        raise Failure(
            f"the backup's id key is {manifest.id_key}: give its keys by --keys, or set MSGXC_ID_KEY"
        )
    run_async(bring_back(session, manifest, folder, keys))
