"""Examples under a command's help, kept as they are written."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """An epilog that the help does not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
