"""The launcher's refusals: what is missing is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cassandra_node.jars import NoCassandraError, fetched, jars, java


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_java_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java, or with one that Cassandra does not run on, the message names the version it needs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCassandraError, match="Java 17"):
        java()
    program(tmp_path, "java", "echo 'openjdk version \"21.0.1\" 2023-10-17' >&2")
    with pytest.raises(NoCassandraError, match=r"java is 21\.0\.1"):
        java()
    program(tmp_path, "java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    assert java() == str(tmp_path / "java")


def test_maven_failing_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half fetched is left behind as if it were whole."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    cache = tmp_path / "cache"
    program(tmp_path / "bin", "mvn", "echo 'Could not transfer artifact'; exit 1")
    with pytest.raises(NoCassandraError, match="Could not transfer artifact"):
        jars(cache)
    assert not fetched(cache)


def test_jars_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time Maven is not even looked for."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    cache = tmp_path / "cache"
    to = 'for word in "$@"; do case $word in -DoutputDirectory=*) to=${word#*=};; esac; done'
    program(tmp_path / "bin", "mvn", f'{to}; mkdir -p "$to"; : > "$to/one.jar"')
    first = jars(cache)
    (tmp_path / "bin" / "mvn").unlink()
    assert [path.name for path in first] == ["one.jar"]
    assert fetched(cache)
    assert jars(cache) == first
