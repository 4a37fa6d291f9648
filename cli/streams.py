"""The three standard streams as a command finds them: closed, full, of another encoding than its words.

Owns what file descriptors 0 to 2 are while a command runs. Never says anything itself.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Buffer
from typing import TextIO


class _Output(io.FileIO):
    """Standard output. What cannot be written names it: the system's error knows a number alone."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "standard output"
            raise


class _Words(io.FileIO):
    """Standard error. What nobody can be told stops nothing."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Before anything else: a file that is opened where a standard stream was closed would be taken for it.

    Whoever closed standard input has nothing to say, and whoever closed standard error wants to hear nothing; data
    for a closed standard output cannot be written, so it is opened for reading.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _hold(number, mode)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), errors="replace")
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Words(2, "w", closefd=False), sys.stderr)


def give_up() -> None:
    """What is still in standard output's buffer goes nowhere: it could not be written, and no second try is made."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _hold(number: int, mode: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        # The lowest number that is free, and those below are taken.
        os.set_inheritable(os.open(os.devnull, mode), True)


def _text(raw: io.FileIO, found: TextIO | None) -> TextIO:
    """A letter that the terminal's encoding lacks is shown as its number."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=found.encoding if found is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=raw.isatty() or isinstance(raw, _Words),
    )
