"""nats-server as a child, and its streams."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain.errors import Unavailable
from infra.log.log import JetStreamLog
from infra.log.opened import LogConfig, open_log
from infra.nats.jetstream import JetStream
from infra.nats.server import DataFolderInUse, NatsServer, ServerConfig, ServerFailed, running_server
from infra.nats.streams import StreamSettings, ensure, stream_configs, widen
from infra.nats.wire.connection import Endpoint, connected
from infra.nats.wire.errors import Denied
from tests.fixtures.nats import MASTER_KEY, log_config
from tests.integration.log.scenes import CONTEXT, a_thread, everything, until


async def test_a_server_starts_within_a_second_and_stops_cleanly(tmp_path: Path) -> None:
    """On a port of its own choice; nothing of it is left behind."""
    server = NatsServer(ServerConfig(folder=tmp_path / "nats"))
    before = time.monotonic()
    await server.start()
    assert time.monotonic() - before < 1
    assert server.port > 0
    pid = server.pid
    await server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("name", ["aé", "Ünï ☃", 'a "b" \\ \x60$HOME\n#', os.fsdecode(b"a\xe9")])
async def test_a_server_starts_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    """Letters of any language, quotes, backslashes, line breaks, bytes that are no text: its data is there."""
    folder = tmp_path / name / "nats"
    async with (
        running_server(ServerConfig(folder=folder)) as server,
        connected(Endpoint(urls=server.url, token=server.token)) as connection,
    ):
        await ensure(JetStream(connection), StreamSettings(), only=["EVENTS"])
        assert (folder / "jetstream").is_dir()
        assert (folder / "nats.log").is_file()


@pytest.mark.parametrize("sync", ["always", "2m", "30s", "500ms"])
async def test_how_often_it_flushes_is_understood(tmp_path: Path, sync: str) -> None:
    """As a time: the server complains of no value in its configuration."""
    folder = tmp_path / "nats"
    async with running_server(ServerConfig(folder=folder, sync=sync)):
        assert said_by(folder) == ""


def said_by(folder: Path) -> str:
    return (folder / "nats.out").read_text()


async def test_only_who_knows_the_token_gets_in(own_server: NatsServer) -> None:
    """The token is in a file of the owner's alone, and the server listens on the loopback only."""
    mode = (own_server.config.folder / "token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE((own_server.config.folder / "nats.conf").stat().st_mode) == 0o600
    with pytest.raises(Denied):
        async with connected(Endpoint(urls=own_server.url, token="a guess")):
            pass
    async with connected(Endpoint(urls=own_server.url, token=own_server.token)) as connection:
        assert connection.is_connected
    assert listening_on(own_server.port) == {LOOPBACK}


LOOPBACK = "0100007F"
"""127.0.0.1 as the kernel writes it."""


def listening_on(port: int) -> set[str]:
    """Addresses on which somebody listens at a port."""
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    places = [row[1].rpartition(":") for row in rows if row[3] == "0A"]
    return {address for address, _, place in places if int(place, 16) == port}


async def test_a_folder_belongs_to_one_server(own_server: NatsServer) -> None:
    """A second one is refused, and takes nothing from the first."""
    with pytest.raises(DataFolderInUse):
        await NatsServer(ServerConfig(folder=own_server.config.folder, lock_s_max=0.1)).start()
    assert own_server.running


async def test_a_server_that_dies_is_started_again_on_its_port(tmp_path: Path) -> None:
    """Clients reconnect by themselves, with all that was acknowledged."""
    async with (
        running_server(ServerConfig(folder=tmp_path / "nats")) as server,
        connected(Endpoint(urls=server.url, token=server.token)) as connection,
    ):
        js = JetStream(connection)
        await ensure(js, StreamSettings(), only=["EVENTS"])
        await connection.ask("evt.a.00.a", b"1")
        port, pid = server.port, server.pid
        os.kill(pid, signal.SIGKILL)

        async def back() -> bool:
            return connection.generation > 1 and connection.is_connected

        await until(back)
        assert (server.port, server.pid == pid) == (port, False)
        info = await js.info("EVENTS")
        assert info is not None
        assert info.state.last_seq == 1


async def test_a_stream_of_an_older_version_is_widened_when_asked_for(own_server: NatsServer) -> None:
    """It is told apart from a stream that somebody changed, and what it holds stays."""
    older, changed = (StreamSettings(feed_messages_per_subject_max=count) for count in (1_000, 7))
    async with connected(Endpoint(urls=own_server.url, token=own_server.token)) as connection:
        js = JetStream(connection)
        await ensure(js, older, only=["FEED"])
        await connection.ask("feed.thread.a", b"1")
        [drift] = await ensure(js, StreamSettings(), only=["FEED"])
        assert drift.is_of_older_version
        await widen(js, drift)
        assert await ensure(js, StreamSettings(), only=["FEED"]) == []
        [narrow] = await ensure(js, changed, only=["FEED"])
        assert not narrow.is_of_older_version
        info = await js.info("FEED")
        assert info is not None
        assert info.state.messages == 1


PARENT = """
import asyncio, pathlib, sys
from infra.nats.server import NatsServer, ServerConfig
async def main():
    server = NatsServer(ServerConfig(folder=pathlib.Path(sys.argv[1])))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def start_and_kill_a_parent(folder: Path) -> int:
    """The pid of a server whose parent got SIGKILL."""
    command = [sys.executable, "-c", PARENT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    return child


def is_zombie(pid: int) -> bool:
    """Ended, and only waiting for somebody to ask about it."""
    return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()


async def test_a_server_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    """SIGKILL leaves no server behind, and the folder can be used again at once."""
    child = await asyncio.to_thread(start_and_kill_a_parent, tmp_path / "nats")

    async def ended() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return is_zombie(child)

    await until(ended)
    server = NatsServer(ServerConfig(folder=tmp_path / "nats"))
    await server.start()
    await server.stop()


async def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    """And does not pretend to run. The file that it names is there, and says why."""
    server = NatsServer(ServerConfig(folder=tmp_path / "nats", extra="no such setting {"))
    with pytest.raises(ServerFailed, match="see") as caught:
        await server.start()
    assert not server.running
    assert "Parse error" in said_in(caught.value)[1]


async def test_a_server_that_stops_while_it_starts_points_to_its_log(tmp_path: Path) -> None:
    """Once it has read its configuration, what is wrong is in its log."""
    folder = tmp_path / "nats"
    folder.mkdir()
    (folder / "jetstream").write_text("no folder")
    with pytest.raises(ServerFailed) as caught:
        await NatsServer(ServerConfig(folder=folder)).start()
    name, text = said_in(caught.value)
    assert (name, "[FTL]" in text) == ("nats.log", True)


def said_in(failure: ServerFailed) -> tuple[str, str]:
    """The file that a failure points to, and what is in it."""
    file = Path(str(failure).partition("; see ")[2])
    return file.name, file.read_text()


async def test_streams_are_as_the_architecture_says(log: JetStreamLog) -> None:
    """Made once; a second look changes nothing and finds no drift; every stream has an epoch of its own."""
    assert await ensure(log.js, StreamSettings()) == []
    epochs = set()
    for config in stream_configs(StreamSettings()):
        info = await log.js.info(config["name"])
        assert info is not None
        assert info.config["storage"] == "file"
        epochs.add(info.config["metadata"]["msgxc-epoch"])
    assert len(epochs) == len(stream_configs(StreamSettings()))


async def test_a_stream_that_differs_is_reported_and_left_alone(log: JetStreamLog) -> None:
    """By stream, setting, and both values."""
    info = await log.js.info("DELIVERY")
    assert info is not None
    await log.js.api("STREAM.UPDATE.DELIVERY", {**info.config, "max_age": 3600 * 10**9})
    (drift,) = await ensure(log.js, StreamSettings())
    assert (drift.stream, drift.setting, drift.found) == ("DELIVERY", "max_age", 3600 * 10**9)
    after = await log.js.info("DELIVERY")
    assert after is not None
    assert after.config["max_age"] == 3600 * 10**9


async def test_a_full_log_refuses_and_forgets_nothing(own_server: NatsServer) -> None:
    """Discard new: what is there stays, and whoever saves is told that nothing was stored."""
    endpoint = log_config(own_server).endpoint
    small = LogConfig(endpoint=endpoint, streams=StreamSettings(events_bytes_max=20_000))
    async with open_log(small, master_key=MASTER_KEY) as log:
        with pytest.raises(Unavailable, match="maximum bytes"):
            await save_without_end(log)
        end = await log.end("EVENTS")
        assert 10 < end < 1000
        assert [fact.position for fact in await everything(log)] == list(range(1, end + 1))


async def save_without_end(log: JetStreamLog) -> None:
    while True:
        await log.events.save(a_thread(), context=CONTEXT)
