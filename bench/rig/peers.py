"""The push providers that a benchmark sends to, each in a process of its own, and what their books say.

Three to choose from: the light stand-in of bench/rig/providers.py, which is the default, since it takes the least from
what is measured; the project's sandbox, which checks everything; or a program (`BINARY gencert|serve`).
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from bench.rig.serving import ROOT, free_port

START_S = 20.0
BOOKS_S = 20.0
SHOWN_MAX = 3
"""Addresses named of those that were not sent to once."""
APNS_FORM, FCM_FORM = "{:064x}", "fcm{:09d}:APA91b" + "x" * 134
"""Addresses as long as real ones, numbered."""


@dataclass(frozen=True)
class Peer:
    """Where to send, and with what. books: where its books are asked for, if it has any."""

    apns_url: str
    fcm_url: str
    webpush_url: str
    ca_file: str
    apns: dict[str, str]
    service_account: dict[str, Any]
    pid: int = 0
    books: str = ""


class Book(msgspec.Struct):
    """What a peer took on a channel: n requests, ok of them accepted, of uniq addresses, each so often if it tells."""

    n: int = 0
    ok: int = 0
    uniq: int = 0
    addresses: dict[str, int] | None = None

    def fault(self, wanted: Collection[str]) -> str:
        """What keeps it from being each of the wanted exactly once; empty: nothing."""
        taken = (self.n, self.ok, self.uniq)
        if self.addresses is not None and self.addresses != dict.fromkeys(wanted, 1):
            missing = [one for one in wanted if one not in self.addresses][:SHOWN_MAX]
            others = self.addresses.keys() - set(wanted)
            twice = [one for one, times in self.addresses.items() if times > 1][:SHOWN_MAX]
            return f"{taken}, missing {missing}, twice {twice}, {len(others)} unknown"
        return "" if taken == (len(wanted),) * 3 else f"{taken} instead of {len(wanted)} of each"


def books_of(peer: Peer) -> Mapping[str, Book]:
    with urlopen(f"{peer.books}/stats", timeout=BOOKS_S) as answer:  # noqa: S310  our own child on loopback
        told = msgspec.json.decode(answer.read(), type=dict[str, msgspec.Raw])
    return {name: msgspec.json.decode(told[name], type=Book) for name in ("apns", "fcm") if name in told}


def reset_books(peer: Peer) -> None:
    with urlopen(Request(f"{peer.books}/reset", method="POST"), timeout=BOOKS_S):  # noqa: S310  as above
        pass


def offer_peers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fakes", default="", help="a program to start as the providers")
    parser.add_argument("--sandbox", action="store_true", help="the project's sandbox as the providers")


@contextmanager
def chosen_peer(options: argparse.Namespace, folder: Path) -> Iterator[Peer]:
    """As the options of `offer_peers` say. Keys of an earlier run in the same folder are found again."""
    folder.mkdir(exist_ok=True)
    if options.fakes:
        started = program(options.fakes, folder)
    elif options.sandbox:
        started = told_by([sys.executable, "-c", SANDBOX, str(folder)])
    else:
        started = told_by([sys.executable, "-m", "bench.rig.providers", str(folder)])
    with started as peer:
        yield peer


@contextmanager
def program(binary: str, folder: Path) -> Iterator[Peer]:
    """A peer given as a program; its certificates are made on the spot."""
    plain, tls = free_port(), free_port()
    books = f"http://127.0.0.1:{plain}"
    subprocess.run([binary, "gencert", "-dir", str(folder), "-token-uri", f"{books}/token"], check=True)
    places = ["-tls", f"127.0.0.1:{tls}", "-plain", f"127.0.0.1:{plain}"]
    process = subprocess.Popen(
        [binary, "serve", "-uniq", *places, "-dir", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        until_listening(tls)
        yield peer_of(f"https://localhost:{tls}", folder / "ca.pem", folder, process.pid, books)
    finally:
        process.terminate()
        process.wait(START_S)


def peer_of(url: str, ca_file: Path, folder: Path, pid: int = 0, books: str = "") -> Peer:
    apns = {"key_pem": (folder / "apns.p8").read_text(), "key_id": "ABC123DEFG", "team_id": "DEF123GHIJ"}
    account = json.loads((folder / "fcm-sa.json").read_text())
    return Peer(url, url, url, str(ca_file), {**apns, "topic": "org.example.app"}, account, pid, books)


SANDBOX = """
import asyncio, json, sys
from pathlib import Path
from infra.sandbox import Sandbox
async def main():
    async with Sandbox(Path(sys.argv[1])) as sandbox:
        print(json.dumps(sandbox.environment()), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""


@contextmanager
def told_by(command: list[str]) -> Iterator[Peer]:
    """A peer that tells on one line where it is, as settings, and ends with its standard input."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        apns = {
            "key_pem": Path(told["MSGXC_APNS_KEY_FILE"]).read_text(),
            "key_id": told["MSGXC_APNS_KEY_ID"],
            "team_id": told["MSGXC_APNS_TEAM_ID"],
            "topic": told["MSGXC_APNS_TOPIC"],
        }
        account = json.loads(Path(told["MSGXC_FCM_CREDENTIALS_FILE"]).read_text())
        webpush = f"https://{told['MSGXC_WEBPUSH_HOSTS']}"
        urls = (told["MSGXC_APNS_URL"], told["MSGXC_FCM_URL"], webpush)
        yield Peer(*urls, told["MSGXC_CA_FILE"], apns, account, process.pid, told.get("books", ""))
    finally:
        process.stdin.close()
        process.wait(START_S)


def until_listening(port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the peer does not listen")
