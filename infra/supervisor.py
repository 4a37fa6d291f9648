"""Keeps the roles of one process running: starts, restarts after a failure, drains, and says how each one is.

Owns the life of its roles' tasks. Never knows what a role does; what a role cannot go on from (a log that is not
the one it knows) ends that role alone, and its state says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from domain.errors import Unavailable
from processes.port import LogMismatch

log = structlog.get_logger()

BACKOFF_FIRST_S: Final = 0.25
BACKOFF_MAX_S: Final = 30.0
"""A part that is down for long is asked twice a minute."""

SOUND_AFTER_S: Final = 60.0
"""A role that ran this long begins with the first pause again when it fails."""

DRAIN_S: Final = 15.0
"""A gateway's slice has its deadline well within this."""

Stop = asyncio.Event
Run = Callable[[Stop], Awaitable[None]]


class State(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    """It failed and will be started again."""
    STOPPED = "stopped"
    """Told to."""
    HALTED = "halted"
    """It cannot go on until somebody mends the cause."""


class Role(msgspec.Struct, frozen=True):
    """run: works until the event is set, then finishes what it has in hand and returns."""

    name: str
    run: Run
    drain_s: float = DRAIN_S


class Status(msgspec.Struct, frozen=True):
    state: State
    restarts: int = 0
    reason: str = ""


class Supervisor:
    """Runs roles side by side. `halting` are the errors that end a role for good."""

    def __init__(
        self, roles: Sequence[Role], *, halting: tuple[type[BaseException], ...] = (LogMismatch,)
    ) -> None:
        self._roles = tuple(roles)
        self._halting = halting
        self._statuses = {role.name: Status(State.STARTING) for role in roles}

    @property
    def statuses(self) -> Mapping[str, Status]:
        return self._statuses

    async def run(self, stop: Stop) -> None:
        """Run all roles until `stop` is set and each has drained, or was cancelled after its time."""
        async with asyncio.TaskGroup() as group:
            for role in self._roles:
                group.create_task(self._keep(role, stop), name=role.name)

    async def _keep(self, role: Role, stop: Stop) -> None:
        pause_s = BACKOFF_FIRST_S
        while not stop.is_set():
            began_s = asyncio.get_running_loop().time()
            reason = await self._once(role, stop)
            if reason is None or stop.is_set() or self._statuses[role.name].state is State.HALTED:
                break
            if asyncio.get_running_loop().time() - began_s > SOUND_AFTER_S:
                pause_s = BACKOFF_FIRST_S
            self._note(role, State.WAITING, reason)
            log.error("role-failed", role=role.name, reason=reason, again_in_s=pause_s)
            await wait_set(stop, pause_s)
            pause_s = min(pause_s * 2, BACKOFF_MAX_S)
        if self._statuses[role.name].state is not State.HALTED:
            self._note(role, State.STOPPED)

    async def _once(self, role: Role, stop: Stop) -> str | None:
        """One life of a role; why it ended, or None when it was told to."""
        self._note(role, State.RUNNING)
        try:
            await _drained(role, stop)
        except Exception as error:  # noqa: BLE001  the runner: whatever it was, the role starts again
            return self._failed(role, error)
        return None if stop.is_set() else "it ended without being told to"

    def _failed(self, role: Role, error: Exception) -> str:
        causes = _leaves(error)
        for cause in causes:
            if isinstance(cause, self._halting):
                self._note(role, State.HALTED, str(cause))
                log.critical("role-halted", role=role.name, reason=str(cause))
                return str(cause)
        for cause in causes:
            if not isinstance(cause, Unavailable):
                log.error("role-broke", role=role.name, exc_info=error)
                return f"{type(cause).__name__}: {cause}"
        return str(causes[0])

    def _note(self, role: Role, state: State, reason: str = "") -> None:
        restarts = self._statuses[role.name].restarts + (state is State.WAITING)
        self._statuses[role.name] = Status(state, restarts, reason)


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors themselves, without the groups that task groups wrap them in."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for member in error.exceptions for leaf in _leaves(member)]
    return [error]


async def wait_set(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether the event was set within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _drained(role: Role, stop: Stop) -> None:
    """Run the role; once stop is set it has `drain_s` to end by itself, then it is cancelled."""
    work = asyncio.ensure_future(role.run(stop))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await asyncio.wait((work,), timeout=role.drain_s)
    finally:
        stopping.cancel()
        if not work.done():
            if stop.is_set() and role.drain_s:
                log.warning("role-cut-short", role=role.name, after_s=role.drain_s)
            work.cancel()
        await asyncio.wait((work,))
    if not work.cancelled():
        work.result()
