"""What `msgxc backup` and `msgxc restore` do: streams and key files into folders with a manifest, and back.

Nothing that exists is ever replaced. What is written last is the manifest: a folder without one is no backup.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from cli.bootstrap import opened_log
from cli.console import Failure, note, progress
from cli.failures import naming
from cli.session import Session, now
from cli.wiring.endpoints import any_endpoint, configured_endpoint, embedded_server, local_endpoint
from domain.recorded import DELIVERY, EVENTS, FEED, SCHEDULES, SHOPS, SIGNALS, TRIAGE
from infra.configuration.datafolder import DataFolder, replace_private_file
from infra.log.feeding import carry_over
from infra.nats.jetstream import JetStream
from infra.nats.snapshots import StreamCopy, check_file, held_work, load, release_work, save
from infra.nats.streams import KEYS_STREAM, PLACES_STREAM, open_epoch
from infra.nats.wire.connection import connected
from infra.secrets import key_id

WORKED_ON: Final = (EVENTS, DELIVERY, SCHEDULES)
COPIED: Final = (PLACES_STREAM, FEED, EVENTS, DELIVERY, SCHEDULES, SIGNALS, SHOPS, TRIAGE)
"""In this order: what sockets show of EVENTS, and the note of it, must not be ahead of its copy."""

MANIFEST: Final = "manifest.json"
FORM: Final = 1


class Manifest(msgspec.Struct, frozen=True):
    """What is in a folder. id_key: the id of the key that all ids come from."""

    form: int
    made_at: datetime
    id_key: str
    streams: list[StreamCopy]


async def backup(session: Session, folder: Path, keys: Path | None) -> None:
    for made in filter(None, (folder, keys)):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with any_endpoint(session, name="msgxc backup") as endpoint, opened_log(session, endpoint) as log:
        async with held_work(log.js, WORKED_ON):
            await _save_streams(session, log.js, folder, COPIED)
        if keys is not None:
            # After the log: it may name keys that were made while it was copied.
            await _save_streams(session, log.js, keys, (KEYS_STREAM,))
            _copy_key_files(session, keys)
    note(f"the log is in {folder}")
    note(
        f"the keys are in {keys}: keep them apart from the log"
        if keys
        else "the keys are not in it: see --keys"
    )


async def _save_streams(session: Session, js: JetStream, folder: Path, streams: Sequence[str]) -> None:
    copies: list[StreamCopy] = []
    for stream in streams:
        info = await js.info(stream)
        if info is None:
            raise Failure(f"there is no stream {stream}: start the exchange once")
        path = folder / f"{stream}.snapshot"
        with progress(stream, unit="bytes") as advance, naming(path):
            copies.append(await save(js, stream, path, on_bytes=advance))
    manifest = Manifest(FORM, now(), key_id(session.keyring.id_key), copies)
    replace_private_file(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


async def restore(session: Session, manifest: Manifest, folder: Path, keys: Path | None) -> None:
    parts = [(manifest, folder), *([(read_manifest(keys), keys)] if keys is not None else [])]
    with session.folder.held():
        endpoint = configured_endpoint(session, name="msgxc restore")
        if endpoint is not None:
            async with connected(endpoint) as connection:
                await _load_streams(JetStream(connection), parts)
        else:
            async with (
                embedded_server(session) as server,
                connected(local_endpoint(server, name="msgxc restore")) as connection,
            ):
                await _load_streams(JetStream(connection), parts)
    note(
        f"the log of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC is back, in a new epoch; read models are built anew"
    )


async def _load_streams(js: JetStream, parts: Sequence[tuple[Manifest, Path]]) -> None:
    for manifest, folder in parts:
        for copy in manifest.streams:
            check_file(copy, folder / f"{copy.name}.snapshot")
    for manifest, folder in parts:
        for copy in manifest.streams:
            with progress(copy.name, unit="bytes") as advance:
                advance(0, copy.bytes)
                await load(js, copy, folder / f"{copy.name}.snapshot", on_bytes=advance)
            await open_epoch(js, copy.name)
    await carry_over(js)
    await release_work(js, WORKED_ON)


def read_manifest(folder: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise Failure(f"{folder} holds no whole backup: there is no {MANIFEST} that can be read") from error
    if manifest.form != FORM:
        raise Failure(f"{folder} was written by another version of msgxc (form {manifest.form})")
    return manifest


def assert_keys_of(manifest: Manifest, keys: Path) -> None:
    """Before any of them is brought back: wrong ones would stand in the way of the right ones."""
    if read_manifest(keys).id_key != manifest.id_key or not (keys / "files").is_dir():
        raise Failure(f"{keys} does not hold the keys of this backup: its id key is {manifest.id_key}")


def _copy_key_files(session: Session, target: Path) -> None:
    files = target / "files"
    shutil.copytree(session.folder.keys, files)
    files.chmod(0o700)


def restore_key_files(source: Path, folder: DataFolder) -> None:
    """Files that are there are never replaced: they may belong to another log."""
    if (folder.nats / "jetstream").exists():
        raise Failure(f"there is a log in {folder.path} already: set MSGXC_DATA_DIR to another folder")
    folder.prepare()
    for file in (source / "files").rglob("*"):
        if file.is_file():
            target = folder.keys / file.relative_to(source / "files")
            if target.exists():
                raise Failure(f"{target} is there already: set MSGXC_DATA_DIR to an empty folder")
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_private_file(target, file.read_bytes())
