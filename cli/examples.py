"""Examples under a command's help, kept as they are written."""

from __future__ import annotations


def examples(*lines: str, before: str = "") -> str:
    """An epilog that the help does not wrap. before: a paragraph that it does."""
    shown = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
    return f"{before}\n\n{shown}" if before else shown
