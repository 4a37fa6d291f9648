"""One request of the multiplatform SDK: its headers, state, refresh and retries, and what it keeps between starts.

Its pauses are ktor's (3.4.2, ktor-client-core, plugins/HttpRequestRetry.kt): constantDelay heeds Retry-After in whole
seconds unless it is told not to, and core/networking/clients/GenericNetworkClient.kt does not tell it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.replays.sdks import answers_v4
from tests.replays.sdks.surprises import Surprises
from tests.replays.sdks.wire import Answer, Clock, NetworkFailure, Wire

RETRIES_MAX, RETRY_PAUSE_S = 5, 2.0
REFRESHES_MAX = 3
BREAKS_MAX = 10
"""Network failures in a row after which the device counts as offline."""


@dataclass(slots=True)
class Waiting:
    """An event in the SDK's database."""

    event: dict[str, Any]
    nacks: int = 0


@dataclass(slots=True)
class Storage:
    client_id: str
    app: str | None = None
    client_state: str | None = None
    contact_token: str | None = None
    refresh_token: str | None = None
    device_event_state: str | None = None
    is_contact_linked: bool = False
    device_info: dict[str, Any] | None = None
    push_token: str | None = None
    last_sent_push_token: str | None = None
    queue: list[Waiting] = field(default_factory=list)


class Failed(Exception):
    """The service answered, and it was no success."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.status))
        self.answer = answer


class Unreadable(Exception):
    """A body that the SDK's decoder refuses."""


class Requests:
    """What the SDK's clients have in common. app: the code in the configuration; a switched one goes first."""

    def __init__(self, app: str, *, wire: Wire, storage: Storage, clock: Clock, surprises: Surprises) -> None:
        self.wire, self.storage, self.clock, self.surprises = wire, storage, clock, surprises
        self._configured = app

    @property
    def app(self) -> str:
        return self.storage.app or self._configured

    @property
    def client_path(self) -> str:
        return f"/v4/apps/{self.app}/client"

    async def asked(self, method: str, target: str, body: Any) -> Answer | None:
        """As the clients of single requests do: None after a failure, which is a surprise.

        A network failure puts the request back into the flow, which has it at once again.
        """
        for _ in range(BREAKS_MAX):
            try:
                return await self.send(method, target, body)
            except NetworkFailure:
                self.surprises.add(f"retried {method} {target}: no answer")
            except Failed as failure:
                self.surprises.add(f"dropped {method} {target}: {failure}")
                return None
            except Unreadable as error:
                self.surprises.add(f"unreadable {error}")
                return None
        return None

    async def send(self, method: str, target: str, body: Any) -> Answer:
        """With state and token, refreshed after a 401. Raises NetworkFailure, Failed, Unreadable."""
        answer = await self._patiently(method, target, body, self._headers(with_contact=True))
        for number in range(REFRESHES_MAX):
            if answer.status != 401 or self.storage.refresh_token is None:
                break
            await self.clock.sleep(number + 1.0)
            if not await self._refreshed():
                break
            answer = await self._patiently(method, target, body, self._headers(with_contact=True))
            if answer.status == 401:
                self.surprises.add(f"error {target}: 401 again after a refresh")
        if not answer.is_success:
            raise Failed(answer)
        if state := answer.headers.get("ec-client-state"):
            self.storage.client_state = state
        elif target.startswith(self.client_path):
            self.surprises.add(f"error {method} {target}: no EC-Client-State in its answer")
        return answer

    async def _refreshed(self) -> bool:
        body = {"refreshToken": self.storage.refresh_token}
        path = f"{self.client_path}/contact-token"
        answer = await self._patiently("POST", path, body, self._headers(with_contact=False))
        if not answer.is_success:
            return False
        token = (answer.json() or {}).get("contactToken")
        if not isinstance(token, str):
            raise Unreadable("contact-token answer: no contactToken")
        self.storage.contact_token = token
        return True

    async def _patiently(self, method: str, target: str, body: Any, headers: dict[str, str]) -> Answer:
        """Five more times for what may pass, two seconds apart or as Retry-After says. Raises NetworkFailure."""
        answer = await self.wire.send(method, target, headers, body)
        for _ in range(RETRIES_MAX):
            if answer.is_success or (400 <= answer.status < 500 and answer.status not in {408, 429}):
                break
            self.surprises.add(f"retried {method} {target}: {answer.status}")
            await self.clock.sleep(max(RETRY_PAUSE_S, _retry_after_s(answer)))
            answer = await self.wire.send(method, target, headers, body)
        if not answer.is_success:
            self._check_error(target, answer)
        return answer

    def _check_error(self, target: str, answer: Answer) -> None:
        """The SDK's error class has no optional field."""
        try:
            answers_v4.read_error(answer.json())
        except (KeyError, TypeError, ValueError):
            self.surprises.add(f"unreadable error of {target}: {answer.status} {answer.body[:200]!r}")

    def _headers(self, *, with_contact: bool) -> dict[str, str]:
        headers = {"content-type": "application/json", "ec-client-id": self.storage.client_id}
        if self.storage.client_state is not None:
            headers["ec-client-state"] = self.storage.client_state
        if with_contact and self.storage.contact_token is not None:
            headers["ec-contact"] = self.storage.contact_token
        return headers

    def keep_tokens(self, answer: Answer) -> None:
        """Both or neither; an error only in the SDK's log."""
        body = answer.json()
        tokens = {} if not isinstance(body, dict) else body
        if isinstance(tokens.get("refreshToken"), str) and isinstance(tokens.get("contactToken"), str):
            self.storage.refresh_token, self.storage.contact_token = (
                tokens["refreshToken"],
                tokens["contactToken"],
            )
        else:
            self.surprises.add(f"unreadable tokens: {sorted(tokens)}")


def _retry_after_s(answer: Answer) -> float:
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isdecimal() else 0.0
