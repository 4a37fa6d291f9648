"""Google's OAuth access token for FCM: fetched once, kept, renewed before it ends, by one refresher.

firebase-admin reads the service account and google-auth signs and parses; both are synchronous, so they run in one
named thread. The network is ours: each exchange has a time-out, verifies certificates and follows no redirect.
"""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

REFRESH_TIMEOUT_S = 10.0
RENEW_BEFORE_S = 600.0
"""A token of an hour is renewed in its last ten minutes, while the old one still serves."""
MIN_LEFT_S = 30.0
"""A token with less left is not used: a slice may take that long."""

_TOKEN = re.compile(r"[!-~]{1,8192}")
"""What may stand in a header; Google's have some hundred characters."""


class TokenRefused(Exception):
    """Google does not accept the service account, or is not Google."""


class TokenUnavailable(Exception):
    """No token for now: the token endpoint does not answer."""


class GoogleToken:
    def __init__(
        self,
        credentials_info: Mapping[str, Any],
        *,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._info, self._ca_file, self._clock = dict(credentials_info), ca_file, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="google-oauth")
        self._credentials: Any = None
        self._token, self._expires_at = "", 0.0
        self._refreshing: asyncio.Task[None] | None = None

    async def get(self, *, timeout_s: float) -> str:
        """A token good for a slice. Raises TokenRefused or TokenUnavailable, within `timeout_s`."""
        left_s = self._expires_at - self._clock()
        if left_s < RENEW_BEFORE_S and self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name="google-oauth")
            self._refreshing.add_done_callback(self._refreshed)
        if left_s < MIN_LEFT_S and self._refreshing is not None:
            done, _ = await asyncio.wait((self._refreshing,), timeout=timeout_s)
            if not done:
                raise TokenUnavailable("the token endpoint does not answer")
            done.pop().result()
        return self._token

    def forget(self) -> None:
        """FCM refuses the token: the next call fetches another."""
        self._expires_at = 0.0

    async def aclose(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait((self._refreshing,))
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # whoever waits for it hears of it; an early renewal is tried again by the next slice

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                await loop.run_in_executor(self._thread, self._refresh_in_thread, loop)
        except TimeoutError:
            raise TokenUnavailable("the token endpoint does not answer") from None

    def _refresh_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        from firebase_admin import credentials
        from google.auth import exceptions

        try:
            if self._credentials is None:
                self._credentials = credentials.Certificate(self._info).get_credential()
            self._credentials.refresh(_exchange_on(loop, self._ca_file))
        except exceptions.TransportError as error:
            raise TokenUnavailable(str(error)) from None
        except exceptions.RefreshError as error:
            kind = TokenUnavailable if error.retryable else TokenRefused
            raise kind(str(error.args[0] if error.args else error)) from None
        except ValueError as error:
            raise TokenRefused(str(error)) from None
        except (TypeError, AttributeError, OverflowError, RecursionError) as error:
            # google-auth trusts an answer to have the right shape; what has another is no token, and no bug of ours.
            raise TokenUnavailable(f"an answer that is no token: {type(error).__name__}") from None
        self._keep(self._credentials.token, self._credentials.expiry)

    def _keep(self, token: Any, expiry: Any) -> None:
        """expiry: google-auth's times are naive and mean UTC."""
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not isinstance(expiry, datetime):
            raise TokenUnavailable("an answer that is no token")
        self._token, self._expires_at = token, float(calendar.timegm(expiry.utctimetuple()))


def _exchange_on(loop: asyncio.AbstractEventLoop, ca_file: str | None) -> Any:
    """A google.auth.transport.Request whose network runs on our loop, called from the thread."""
    from google.auth import exceptions

    class Response:
        def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
            self.status, self.headers, self.data = status, headers, data

    def request(
        url: str, method: str = "GET", body: Any = None, headers: Any = None, **_timeout: Any
    ) -> Response:
        exchange = asyncio.run_coroutine_threadsafe(_exchange(url, method, body, headers, ca_file), loop)
        try:
            return Response(*exchange.result(REFRESH_TIMEOUT_S))
        except (OSError, TimeoutError) as error:
            raise exceptions.TransportError(str(error) or "timed out") from None  # type: ignore[no-untyped-call]

    return request


async def _exchange(
    url: str, method: str, body: Any, headers: Any, ca_file: str | None
) -> tuple[int, Mapping[str, str], bytes]:
    import ssl

    import aiohttp

    tls = ssl.create_default_context(cafile=ca_file)
    timeout = aiohttp.ClientTimeout(total=REFRESH_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=tls)) as session,
            session.request(method, url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.read()
    except aiohttp.ClientSSLError as error:
        raise TokenRefused(f"the token endpoint cannot be trusted: {error}") from None
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from None
