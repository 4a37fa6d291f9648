"""The shops' guide tells the truth: its commands are run as they stand there, against `msgxc serve`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fixtures.environment import without_settings
from tests.fixtures.served import BLOCK, ROOT

GUIDE = ROOT / "docs" / "guides" / "shops.md"
START_S_MAX = 30.0


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """`msgxc serve` on a free port; its address."""
    environment = {**without_settings(), "MSGXC_DATA_DIR": str(folder / "data"), "MSGXC_HTTP_PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "serve"), cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S_MAX):
            said = await process.stdout.readuntil(b"\n")
            while not (found := re.search(rb"http://127\.0\.0\.1:\d+", said)):
                said = await process.stdout.readuntil(b"\n")
        yield found[0].decode()
    finally:
        process.terminate()
        await process.wait()


def commands(address: str) -> list[str]:
    """The guide's curl commands, each with the shop set."""
    blocks = [block for block in BLOCK.findall(GUIDE.read_text(encoding="utf-8")) if "curl" in block]
    shop = re.search(r"^SHOP=.*$", blocks[0], re.MULTILINE)
    assert shop is not None
    text = "\n".join(blocks).replace("http://127.0.0.1:8000", address)
    found = re.split(r"\n(?=curl )", text.replace(shop[0], ""))
    return [
        f"{shop[0]}; {each.strip().replace('curl ', 'curl -sS --fail ', 1)}"
        for each in found
        if "curl" in each
    ]


async def run(command: str, folder: Path) -> str:
    """What it prints. A stream is read for a moment."""
    bounded = command.replace("curl -sS", "curl --max-time 2 -sS", 1) if " -N " in command else command
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", bounded, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, complaint = await asyncio.wait_for(process.communicate(), 10)
    timed_out = 28  # curl's own code for --max-time
    assert process.returncode in ({timed_out} if " -N " in command else {0}), (command, complaint)
    return printed.decode()


async def test_the_guides_commands_work_as_they_stand(tmp_path: Path) -> None:
    """Publish, NATS' address, stream, archive, session, shopper, sales, export: each answers what the guide says."""
    async with served(tmp_path) as address:
        printed = [await run(command, tmp_path) for command in commands(address)]
        found = re.search(r"^NATS=.*$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
        assert found is not None
        nats = await run(f"{found[0].replace('.msgxc', 'data')}; printf %s $NATS", tmp_path)
    assert re.fullmatch(r"nats://[\w-]+@127\.0\.0\.1:\d+", nats)
    publish, stream, updates, session, shopper, sales, _ = printed
    shop = "7f6c2b8e-1d7a-4a55-9a3b-0c9f3c1d2e4f"
    assert json.loads(publish) == {"status": f"Message sent to shop ID {shop}"}
    assert "event: update" in stream
    [item] = json.loads(updates)["items"]
    assert item["data"]["create_time"] == "2023-12-18 10:30:00+00:00"
    assert json.loads(session)["basket"][0]["UPC"] == "0012345678905"
    assert json.loads(shopper) == json.loads(session)
    assert [(sale["quantity"], sale["amount"]) for sale in json.loads(sales)] == [(1, 3.5)]
    assert len((tmp_path / "shop.jsonl").read_text().splitlines()) == 1
