"""Cassandra's jars, fetched once with Maven into a cache folder. Never starts a node."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "cassandra"
"""Within the working copy, where git ignores it."""

FETCH_S_MAX = 600.0
"""67 MB in a hundred files; a mirror that needs more than this does not answer."""

JAVA_VERSIONS = (17, 11)
"""What Cassandra 5.0 runs on (its installation page); the newest that is there is taken."""


class NoCassandraError(Exception):
    """A node can't run here; the message says what is missing."""


def java() -> str:
    """The path of a Java that Cassandra 5.0 runs on."""
    found = shutil.which("java")
    if found is None:
        raise NoCassandraError("there is no java on the PATH: Cassandra needs Java 17")
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=False)
    quoted = answer.stderr.partition('"')[2].partition('"')[0]
    major = quoted.partition(".")[0]
    if not major.isdecimal() or int(major) not in JAVA_VERSIONS:
        raise NoCassandraError(f"java is {quoted or 'of no known version'}: Cassandra needs Java 17")
    return found


def fetched(cache: Path = CACHE) -> bool:
    """Whether `jars` has nothing left to fetch."""
    return _lib(cache).is_dir()


def jars(cache: Path = CACHE) -> list[Path]:
    """Every jar of the class path. The first call fetches them; several processes may ask at once."""
    cache.mkdir(parents=True, exist_ok=True)
    lib = _lib(cache)
    with _locked(cache / "fetch.lock"):
        if not lib.is_dir():
            _fetch(lib)
    return sorted(lib.glob("*.jar"))


def _fetch(lib: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoCassandraError("there is no mvn on the PATH: Maven fetches Cassandra's jars")
    partial = lib.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    command = [maven, "-B", "-ntp", "-q", "-f", str(POM), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise NoCassandraError(
            f"Maven did not fetch Cassandra's jars within {FETCH_S_MAX:.0f} s: is its repository reachable?"
        ) from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-600:]
        raise NoCassandraError(f"Maven could not fetch Cassandra's jars: {said}")
    partial.rename(lib)


def _lib(cache: Path) -> Path:
    return cache / f"lib-{_version()}"


def _version() -> str:
    text = POM.read_text(encoding="utf-8")
    return text.partition("cassandra-all</artifactId>")[2].partition("<version>")[2].partition("<")[0]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
