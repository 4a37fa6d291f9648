"""URLs: ours as they are written, and those of the settings as people may see them, never with who signs in."""

from __future__ import annotations

import re

_DIVISION = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*://)")
_USERINFO = re.compile(r"(?<=://)[^\n]*@")


def url_of(host: str, port: int) -> str:
    """http://host:port; an IPv6 address is put into brackets (RFC 3986, section 3.2.2)."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def without_userinfo(text: str) -> str:
    """One or more URLs, divided by commas, without user, password or token; any other text as it is.

    Up to the last @, since a password that was not written as a URL wants it may hold any letter.
    """
    return ",".join(_USERINFO.sub("", url) for url in _DIVISION.split(text))
