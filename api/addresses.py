"""Addresses of our own contract, and of web domains: names in them (of threads, contacts, buttons) may hold any
character, a slash too.

Owns how such a path is read: divided first, then each part decoded; and how it is written. Other contracts' paths are
read as their own servers did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from api.endpoint import refuse
from api.http.problem import BadPath
from domain.errors import MsgxcError, NotFound

PREFIX = "/api/v2/"
PREFIXES = (PREFIX, "/push-contacts/", "/messages/", "/message/", "/domains/")
"""What the paths begin with that are read so."""


def address(path: str, name: str) -> str:
    """The path below which something with this name is, in the form that an address has."""
    return f"{path}/{quote(name, safe='')}"


def nothing_there() -> NotFound:
    return NotFound("there is nothing at this address; /docs lists what there is")


class Addresses:
    """Endpoints whose paths have parameters, by the number of a path's parts.

    Hot path: asked for paths with a percent sign alone, which few have.
    """

    def __init__(self, endpoints: Mapping[str, ASGIApp]) -> None:
        self._by_length: defaultdict[int, list[tuple[list[str], ASGIApp]]] = defaultdict(list)
        for path, endpoint in endpoints.items():
            if path.startswith(PREFIXES):
                parts = path.split("/")
                self._by_length[len(parts)].append((parts, endpoint))

    def find(self, scope: Scope) -> ASGIApp | None:
        """What answers; None where the decoded path means the same, so that it may be routed as any other."""
        try:
            parts = [_decoded(part) for part in scope["raw_path"].split(b"/")]
        except BadPath as error:
            # Made anew: what answers is remembered with the head, and what was raised holds this request's connection.
            return _Refusal(BadPath(error.detail, field=error.field))
        if not any("/" in part for part in parts):
            return None
        for wanted, endpoint in self._by_length[len(parts)]:
            named = _named(wanted, parts)
            if named is not None:
                scope["path_params"] = named
                return endpoint
        return _Refusal(nothing_there())


def _decoded(part: bytes) -> str:
    """Raises BadPath."""
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        shown = part.decode("ascii", "replace")
        raise BadPath(f"{shown!r} in the path is not percent-encoded UTF-8", field="path") from None


def _named(wanted: list[str], parts: list[str]) -> dict[str, str] | None:
    """The parameters by name; None for another path."""
    named: dict[str, str] = {}
    for want, part in zip(wanted, parts, strict=True):
        if want.startswith("{") and part:
            named[want[1:-1]] = part
        elif want != part:
            return None
    return named


class _Refusal:
    def __init__(self, error: MsgxcError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(scope, send, self._error)
