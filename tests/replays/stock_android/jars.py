"""The stock SDK and what it runs on, fetched once with Maven, and our phone compiled against it. Starts nothing.

MSGXC_STOCK_ANDROID names a folder with the SDK's jars, where Maven's repositories do not have it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from tests.replays.stock import NoStockSdkError, fetch, locked

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
CACHE = Path(__file__).parents[3] / ".cache" / "stock-android"
"""Within the working copy, where git ignores it."""
GIVEN = "MSGXC_STOCK_ANDROID"

FETCH_S_MAX = 600.0
"""200 MB, most of them Robolectric's Android."""
COMPILE_S_MAX = 60.0
JAVA_MIN = 17
"""What Robolectric needs for Android 15."""
RESOURCES = "R.txt"
"""In an AAR: the names of its resources, of which an app's build makes the class R."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What a JVM with the SDK needs. android: the folder where Robolectric finds its Android."""

    java: str
    class_path: str
    android: Path


def stock(classes: Path) -> Stock:
    """classes: a folder for our own. The first call fetches; several processes may ask at once."""
    java, javac = _program("java"), _program("javac")
    lib = _fetched()
    given = [Path(os.environ[GIVEN])] if os.environ.get(GIVEN) else []
    jars = [str(jar) for folder in (*given, lib) for jar in sorted(folder.glob("*.jar"))]
    sources = [str(each) for each in (*HERE.glob("*.java"), *lib.glob("resources/**/*.java"))]
    path = os.pathsep.join([str(classes), *jars])
    command = [javac, "-proc:none", "-nowarn", "-d", str(classes), "-cp", path, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S_MAX, check=False)
    # A fault of ours, or a folder without the SDK's jars: neither is a reason to skip the tests.
    assert done.returncode == 0, f"javac failed: {(done.stdout + done.stderr).strip()}"
    return Stock(java, path, lib)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoStockSdkError(f"there is no {name} on the PATH: a JDK {JAVA_MIN} or later is needed")
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=False)
    words = (answer.stdout.splitlines() or [""])[0].split()
    major = words[1].partition(".")[0] if len(words) > 1 else ""
    if not major.isdecimal() or int(major) < JAVA_MIN:
        raise NoStockSdkError(f"{name} says {' '.join(words) or 'nothing'}: {JAVA_MIN} or later is needed")
    return found


def _fetched() -> Path:
    """The folder with all that Maven gives, with or without the SDK itself."""
    with_sdk = not os.environ.get(GIVEN)
    lib = CACHE / ("lib-with-sdk" if with_sdk else "lib")
    with locked(CACHE):
        if not lib.is_dir() or lib.stat().st_mtime < POM.stat().st_mtime:
            _fetch(lib, with_sdk=with_sdk)
    return lib


def _fetch(lib: Path, *, with_sdk: bool) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoStockSdkError("there is no mvn on the PATH: Maven fetches the SDK")
    partial = lib.with_suffix(".partial")
    for folder in (partial, lib):
        shutil.rmtree(folder, ignore_errors=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    profile = ["-Psdk"] if with_sdk else []
    command = [maven, "-B", "-ntp", "-q", "-f", str(POM), *profile, *goal]
    fetch("Maven", command, s_max=FETCH_S_MAX)
    for aar in sorted(partial.glob("*.aar")):
        _unpack(aar)
    partial.rename(lib)


def _unpack(aar: Path) -> None:
    """Its classes, and for an Emarsys module the class R that an app's build would add."""
    with ZipFile(aar) as archive:
        aar.with_suffix(".jar").write_bytes(archive.read("classes.jar"))
        manifest = archive.read("AndroidManifest.xml").decode()
        package = manifest.partition('package="')[2].partition('"')[0]
        names = archive.read(RESOURCES).decode() if RESOURCES in archive.namelist() else ""
    if package.startswith("com.emarsys") and names.strip():
        folder = aar.parent / "resources" / aar.stem
        folder.mkdir(parents=True)
        (folder / "R.java").write_text(_resources(package, names), encoding="utf-8")


def _resources(package: str, names: str) -> str:
    """Each line of `names`: int KIND NAME NUMBER. The numbers stand for no resource: none is shown here."""
    kinds: dict[str, list[str]] = {}
    for line in names.splitlines():
        words = line.split()
        if words and words[0] == "int":
            kinds.setdefault(words[1], []).append(words[2])
    classes = [
        f"public static final class {kind} {{ {' '.join(f'public static int {name};' for name in found)} }}"
        for kind, found in kinds.items()
    ]
    return f"package {package}; public final class R {{ {' '.join(classes)} }}\n"
