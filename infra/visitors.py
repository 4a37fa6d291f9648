"""The call that registers a visitor with the site's own system (SaveVisitorWithEmail)."""

from __future__ import annotations

import aiohttp

from domain.errors import Unavailable

PATH = "/Lists/InternalSubscriber/SaveVisitorWithEmail"
PATIENCE_S = 10.0


class VisitorsByHttp:
    """processes.devices.visitors.VisitorRegister. patience_s: for a whole call."""

    def __init__(self, url: str, token: str, *, patience_s: float = PATIENCE_S) -> None:
        self._url, self._token = url.rstrip("/") + PATH, token
        self._timeout = aiohttp.ClientTimeout(total=patience_s)

    async def save(self, *, domain: str, visitor: str, email: str) -> None:
        body = {"Domain": domain, "VisitorGuid": visitor, "Email": email}
        headers = {"X-Internal-Token": self._token}
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.post(self._url, json=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer: {type(error).__name__}") from error
        if status >= 300:
            raise Unavailable(f"answered {status}")
