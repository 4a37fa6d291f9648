"""What a figure was measured on, as its bench prints it."""

from __future__ import annotations

import os
import platform
import sysconfig


def machine() -> str:
    """Processor, cores, what else ran in the last minute, and the Python, with how it was built.

    A CPython built without its profile (`--enable-optimizations`) takes half as long again for the same work.
    """
    built = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    profile = "profile-guided build" if "--enable-optimizations" in built else "plain build"
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()} ({profile})"
    )
