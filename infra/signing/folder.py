"""The folder of signing keys: which of its files are keys, and how ours are made."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

import msgspec

from infra.configuration.datafolder import private_file


def key_files(source: Path) -> list[Path]:
    """Oldest first, by name; `source` itself when it is a file."""
    if not source.is_dir():
        return [source]
    return sorted(file for file in source.iterdir() if file.suffix in {".json", ".pem"})


def add_key(folder: Path, *, now: datetime) -> str:
    """Make a secret of HS256 that signs from now on (docs/adr/0050); its kid, which begins with the time."""
    kid = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    jwk = {"kty": "oct", "alg": "HS256", "use": "sig", "kid": kid, "k": secrets.token_urlsafe(32)}
    content = msgspec.json.format(msgspec.json.encode(jwk))
    private_file(folder / f"{kid}.json", lambda: content + b"\n")
    return kid


def ensure_key(folder: Path, *, now: datetime) -> None:
    """Make the first key where there is none."""
    if not key_files(folder):
        add_key(folder, now=now)
