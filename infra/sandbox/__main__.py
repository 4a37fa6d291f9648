"""`python -m infra.sandbox FOLDER [PORT]`: the sandbox alone, for trying a gateway or a test by hand.

Prints the settings that point an exchange at it, serves its page on 127.0.0.1, and ends with SIGINT or SIGTERM.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from infra.sandbox.sandbox import Sandbox


async def serve(folder: Path, port: int) -> None:
    async with Sandbox(folder) as sandbox:
        lines = (f"{name}={value}\n" for name, value in sandbox.environment().items())
        sys.stdout.write("".join(lines))
        sys.stdout.flush()
        app = Starlette(routes=[Route("/sandbox", sandbox.app), Mount("/sandbox", sandbox.app)])
        config = uvicorn.Config(app, "127.0.0.1", port, log_level="warning", proxy_headers=False)
        await uvicorn.Server(config).serve()


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 2 or not (arguments[1:] or ["0"])[0].isdigit():
        sys.exit("usage: python -m infra.sandbox FOLDER [PORT]")
    asyncio.run(serve(Path(arguments[0]), int((arguments[1:] or ["8001"])[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
