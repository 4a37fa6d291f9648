"""Keys from files: followed as they change, kept when a change cannot be used."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.wiring.jwks import LOOK_AGAIN_S, FileKeys
from infra.secrets import SecretsError, add_signing_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pass_time(self) -> None:
        self.now_s += LOOK_AGAIN_S


def _kids(keys: FileKeys) -> set[str]:
    return {key.kid for key in keys.current().keys}


def test_a_new_key_verifies_and_a_removed_one_does_not(tmp_path: Path) -> None:
    """Half a second later at most, without a restart; unchanged files give the same object."""
    first, clock = add_signing_key(tmp_path, now=NOW), Clock()
    keys = FileKeys(tmp_path, monotonic=clock)
    before = keys.current()
    clock.pass_time()
    assert keys.current() is before
    second = add_signing_key(tmp_path, now=NOW.replace(year=2027))
    clock.pass_time()
    assert _kids(keys) == {first, second}
    (tmp_path / f"{first}.json").unlink()
    clock.pass_time()
    assert _kids(keys) == {second}


def test_a_typing_mistake_locks_nobody_out(tmp_path: Path) -> None:
    """A changed file that is no JWKS leaves the former keys; once mended it counts."""
    first, clock = add_signing_key(tmp_path, now=NOW), Clock()
    keys = FileKeys(tmp_path, monotonic=clock)
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    clock.pass_time()
    assert _kids(keys) == {first}
    broken.write_text('{"keys": []}', encoding="utf-8")
    clock.pass_time()
    assert _kids(keys) == {first}


def test_keys_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    """The error names the file or key and what is wrong with it."""
    (tmp_path / "short.json").write_text(
        '{"keys": [{"kty": "oct", "kid": "s", "k": "c2hvcnQ"}]}', encoding="utf-8"
    )
    with pytest.raises(SecretsError, match="at least 32 bytes"):
        FileKeys(tmp_path)
