"""The call that registers a visitor with the site's own system (SaveVisitorWithEmail)."""

from __future__ import annotations

import aiohttp

from domain.errors import Unavailable

PATH = "/Lists/InternalSubscriber/SaveVisitorWithEmail"
TIMEOUT = aiohttp.ClientTimeout(total=10)


class VisitorsByHttp:
    """processes.visitors.VisitorRegister."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/") + PATH, token

    async def save(self, *, domain: str, visitor: str, email: str) -> None:
        body = {"Domain": domain, "VisitorGuid": visitor, "Email": email}
        headers = {"X-Internal-Token": self._token}
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(self._url, json=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer: {type(error).__name__}") from error
        if status >= 300:
            raise Unavailable(f"answered {status}")
