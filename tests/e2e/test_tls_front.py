"""nginx in front of the exchange, as the guide to Emarsys SDKs has it: nothing that a device may send or get is lost.

Where nginx is not installed (Debian's package `nginx`) these tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from api.emarsys.device_events.events import BODY_BYTES_MAX, IN_FLIGHT_MAX
from api.emarsys.identity.tokens import CONTACT_VALUE_BYTES_MAX, STATE_BYTES_MAX
from tests.fixtures.certificates import Certificates
from tests.fixtures.served import ROOT
from tests.memory.phone import APP, V3_NAMES, phones
from tests.memory.site import Site

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
GUIDE = ROOT / "docs" / "guides" / "emarsys.md"
HOST = "me-client.eservice.emarsys.net"
START_S_MAX = 10.0
LARGE = {f"property-{number}": "ü" * 40 for number in range(60)}
"""More than a client state has room for, so that it is as large as one gets."""
NGINX_HEADER_BYTES, NGINX_BODY_BYTES = 4_096, 1 << 20
"""Of an answer's header, and of a request's body: what nginx takes unless told otherwise."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(NGINX is None, reason="NOT RUN: install Debian's package nginx"),
]


def guides_config(port: int, exchange: int, folder: Path, certificate: str) -> str:
    """A whole configuration around the guide's, which listens and looks elsewhere."""
    [shown] = re.findall(r"```nginx\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    for said, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{exchange};"),
        ("ssl_certificate /etc/nginx/msgxc.pem;", f"ssl_certificate {certificate};"),
        ("ssl_certificate_key /etc/nginx/msgxc.key;", f"ssl_certificate_key {certificate};"),
    ):
        assert shown.count(said) == 1, said
        shown = shown.replace(said, here)
    paths = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root it would write as somebody who may not write here.
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    return f"{user} pid {folder}/pid; events {{}} http {{ access_log off; {paths} {shown} }}"


@contextmanager
def nginx(folder: Path, exchange: int) -> Iterator[tuple[int, str]]:
    """Its port, and the authority to trust."""
    certificates = Certificates(folder / "tls", HOST)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(guides_config(port, exchange, folder, str(folder / "tls" / "chain.pem")))
    assert NGINX is not None
    running = subprocess.Popen(
        [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config), "-g", "daemon off;"]
    )
    try:
        yield port, certificates.ca_file
    finally:
        running.terminate()
        running.wait(START_S_MAX)


async def until_listening(port: int) -> None:
    async with asyncio.timeout(START_S_MAX):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@asynccontextmanager
async def devices_at(folder: Path, exchange: int, *, http2: bool) -> AsyncIterator[httpx.AsyncClient]:
    """Calls of devices that find the exchange under the service's own name."""
    with nginx(folder, exchange) as (port, ca_file):
        await until_listening(port)
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}",
            headers={"host": HOST},
            verify=ssl.create_default_context(cafile=ca_file),
            http1=not http2,
            http2=http2,
        ) as client:
            yield client


@pytest.fixture
async def it() -> AsyncIterator[Site]:
    async with phones(served=True) as made:
        yield made


both = pytest.mark.parametrize("http2", [False, True])


@both
async def test_the_largest_states_and_batches_pass(it: Site, tmp_path: Path, http2: bool) -> None:
    """In both directions, with the path as it came; the exchange knows who calls."""
    async with devices_at(tmp_path, it.port, http2=http2) as client:
        path, who = f"/v3/apps/{APP}/client", {V3_NAMES[0]: "d" * 128}
        contact = {
            "contactFieldId": 3,
            "contactFieldValue": "ü" * (CONTACT_VALUE_BYTES_MAX // len("\\u00fc") - 1),
        }
        answer = await client.post(path, json=LARGE, headers=who)
        assert answer.status_code == 204
        answer = await client.post(
            f"{path}/contact", json=contact, headers=who | {V3_NAMES[1]: answer.headers[V3_NAMES[1]]}
        )
        assert answer.status_code == 200
        state = answer.headers[V3_NAMES[1]]
        assert NGINX_HEADER_BYTES < len(state) <= STATE_BYTES_MAX
        held = who | {V3_NAMES[1]: state, V3_NAMES[2]: answer.json()["contactToken"]}
        happened = {"type": "custom", "name": "x" * 200, "timestamp": "2026-01-02T03:04:05.678Z"}
        batch = json.dumps({"events": [happened] * 7_000}).encode()
        assert NGINX_BODY_BYTES < len(batch) <= BODY_BYTES_MAX
        answer = await client.post(f"/v4/apps/{APP}/client/events", content=batch, headers=held)
        assert answer.status_code == 204
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


@both
async def test_who_is_hung_up_on_gets_no_answer(it: Site, tmp_path: Path, http2: bool) -> None:
    """A crowd is turned away so. A 502 in its place would cost generation 4 the event."""
    async with devices_at(tmp_path, it.port, http2=http2) as client:
        it.signals.in_flight = IN_FLIGHT_MAX
        with pytest.raises(httpx.TransportError):
            await client.post(f"/v4/apps/{APP}/client/events", json={"events": []})
        it.signals.in_flight = 0
        assert (await client.get("/ping")).status_code == 200


async def test_an_exchange_that_is_away_gives_no_answer(tmp_path: Path) -> None:
    """As without anything in front of it: devices keep what they have."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with devices_at(tmp_path, nobody.getsockname()[1], http2=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.post(f"/v3/apps/{APP}/client", json={})
