"""Reads settings out of environment variables, and says in one line what to write where one is wrong.

Owns the syntax of single values (ports, URLs, host lists, keys, files). Knows no setting by name, and never shows
a secret's value.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from domain.text.nearest import near
from infra.configuration.urls import without_userinfo

PREFIX: Final = "MSGXC_"
FILE_SUFFIX: Final = "_FILE"

SECRET_BYTES_MAX: Final = 64 * 1024
"""A secret's file larger than this is the wrong file."""

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_ENV_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


class SettingsError(ValueError):
    """A setting that cannot be used. Its text is one line that says what to write."""


class Secret:
    """A value that no log, traceback or repr shows. `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Environment:
    """The variables of one process. Each read registers its name, so that what was never read can be named.

    An empty value is the same as none, as in a file of settings whose lines were left blank.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = {
            name: value for name, value in variables.items() if name.startswith(PREFIX) and value.strip()
        }
        self.known: set[str] = set()

    def text(
        self,
        name: str,
        default: str = "",
        *,
        like: str = "",
        check: Callable[[str], bool] = bool,
        example: str = "",
    ) -> str:
        """A line of text; `like` is a pattern it must match whole, `check` what else it must be, `example` what to
        write.
        """
        value = self._take(name).strip() or default
        if value and not ((not like or re.fullmatch(like, value)) and check(value)):
            raise self._wrong(name, value, f"write something like {example}")
        return value

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        value = self._take(name).strip()
        if not value:
            return default
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise self._wrong(name, value, f"write a whole number from {least} to {most}, like {default}")
        return int(value)

    def choice(self, name: str, default: str, *, among: tuple[str, ...]) -> str:
        value = self._take(name).strip() or default
        if value not in among:
            raise self._wrong(name, value, f"write one of {', '.join(among)}")
        return value

    def folder(self, name: str, default: str) -> Path:
        path = Path(self._take(name).strip() or default).expanduser().absolute()
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{PREFIX}{name}: the folder's name is not in UTF-8; write another") from None
        return path

    def file(
        self,
        name: str,
        *,
        folder_too: bool = False,
        holds: Callable[[Path], bool] | None = None,
        example: str = "",
    ) -> Path | None:
        """An existing file, or None when unset. holds: says of what is in it whether it can be used; it may raise
        ValueError, OSError or TypeError, too. example: what the file should be.
        """
        value = self._take(name).strip()
        if not value:
            return None
        path = Path(value).expanduser().absolute()
        if not (path.is_file() or (folder_too and path.is_dir())):
            what = "file or folder" if folder_too else "file"
            raise self._wrong(name, value, f"there is no such {what}; write the path of one that exists")
        if holds is not None and not self._fits(path, holds, name, value):
            raise self._wrong(name, value, f"this file cannot be used; write the path of {example}")
        return path

    def url(self, name: str, default: str = "", *, schemes: tuple[str, ...], example: str) -> str:
        value = self._take(name).strip() or default
        if value:
            check_url(
                value, schemes=schemes, fail=lambda: self._wrong(name, value, f"write a URL like {example}")
            )
        return value.rstrip("/")

    def names(self, name: str, default: str = "", *, like: str, example: str) -> tuple[str, ...]:
        """A list divided by commas."""
        value = self._take(name).strip() or default
        items = tuple(item.strip() for item in value.split(",") if item.strip())
        for item in items:
            if not re.fullmatch(like, item):
                raise self._wrong(name, item, f"write a list like {example}")
        return items

    def hosts(self, name: str, *, port: int) -> tuple[tuple[str, int], ...]:
        """host[:port],... with a default port."""
        value = self._take(name).strip()
        pairs = [_host_and_port(item.strip(), port) for item in value.split(",") if item.strip()]
        if any(pair is None for pair in pairs) or (value and not pairs):
            raise self._wrong(name, value, f"write host[:port],... like 10.0.0.1:{port},10.0.0.2")
        return tuple(pair for pair in pairs if pair is not None)

    def secret(self, name: str, *, check: Callable[[str], bool] = bool, example: str = "it") -> Secret | None:
        """NAME, or the content of the file that NAME_FILE names."""
        direct, path = self._take(name).strip(), self.file(name + FILE_SUFFIX)
        if direct and path is not None:
            raise SettingsError(
                f"{PREFIX}{name} and {PREFIX}{name}{FILE_SUFFIX} are both set: keep one of them"
            )
        value = direct or (self._content(name + FILE_SUFFIX, path) if path else "")
        if not value and path is None:
            return None
        if not check(value):
            source = (
                f"{PREFIX}{name}{FILE_SUFFIX}: the file's content" if path else f"{PREFIX}{name}: its value"
            )
            raise SettingsError(f"{source} cannot be used; write {example}")
        return Secret(value)

    def together(self, *names: str) -> None:
        """These are set all, or none of them. A secret counts as set by its file, too."""
        there = [n for n in names if self._has(n) or self._has(n + FILE_SUFFIX)]
        missing = [n for n in names if n not in there]
        if there and missing:
            raise SettingsError(
                f"{PREFIX}{there[0]} is set, but not {PREFIX}{missing[0]}: set it too, or unset the others"
            )

    def finish(self) -> None:
        """Every variable with our prefix must have been asked for: a typing mistake must not pass silently."""
        for name in sorted(self._variables):
            bare = name.removeprefix(PREFIX)
            if bare not in self.known:
                meant = near(bare, self.known)
                hint = (
                    f"did you mean {PREFIX}{meant[0]}?" if meant else "see .env.example for those there are"
                )
                raise SettingsError(f"{name} is no setting: {hint}")

    def _take(self, name: str) -> str:
        self.known.add(name)
        return self._variables.get(PREFIX + name, "")

    def _has(self, name: str) -> bool:
        return PREFIX + name in self._variables

    def _content(self, name: str, path: Path) -> str:
        try:
            if path.stat().st_size > SECRET_BYTES_MAX:
                raise SettingsError(f"{PREFIX}{name}: {path} is too large to be a secret; write its path")
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{PREFIX}{name}: {path} cannot be read; write the path of a text file"
            ) from error

    def _fits(self, path: Path, holds: Callable[[Path], bool], name: str, value: str) -> bool:
        try:
            return holds(path)
        except PermissionError:
            raise self._wrong(name, value, "this file cannot be read; mend its rights") from None
        except (OSError, ValueError, TypeError, RecursionError):
            return False

    @staticmethod
    def _wrong(name: str, value: str, advice: str) -> SettingsError:
        value = without_userinfo(value).encode(errors="replace").decode()
        shown = value if len(value) <= 60 else value[:57] + "..."
        return SettingsError(f"{PREFIX}{name}={' '.join(shown.split())}: {advice}")


def check_url(value: str, *, schemes: tuple[str, ...], fail: Callable[[], SettingsError]) -> None:
    """Raise what `fail` makes unless `value` is a URL of one of the schemes with a host and a sane port."""
    try:
        parts = urlsplit(value)
        sound = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise fail()


def key_bytes(text: str) -> bytes:
    """The bytes of a key written as hex or base64. Raises ValueError for anything else."""
    if re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", text):
        return bytes.fromhex(text)
    try:
        return base64.b64decode(
            text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4), validate=True
        )
    except binascii.Error as error:
        raise ValueError("neither hex nor base64") from error


def read_env_file(path: Path) -> dict[str, str]:
    """NAME=value lines, with comments and quotes as shells write them. A missing file is an empty one."""
    if not path.is_file():
        return {}
    values: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(stripped)
        if match is None:
            raise SettingsError(f"{path.name}, line {number}: write NAME=value")
        values[match[1]] = _unquoted(match[2])
    return values


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not in UTF-8 (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read ({error.strerror}): mend its rights") from None


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return re.split(r"\s+#", value, maxsplit=1)[0].strip()


def _host_and_port(item: str, default: int) -> tuple[str, int] | None:
    host, colon, port = item.rpartition(":") if re.search(r":\d+$", item) else (item, "", "")
    number = int(port) if colon else default
    if not _HOST.fullmatch(host) or not 0 < number < 65536:
        return None
    return host.strip("[]"), number


def is_visible_ascii(text: str) -> bool:
    """Whether it can be sent in a header: a token with a space or a line break in it was copied wrongly."""
    return re.fullmatch(r"[!-~]+", text) is not None


def key_size(text: str) -> int:
    try:
        return len(key_bytes(text))
    except ValueError:
        return 0
