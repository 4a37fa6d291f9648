"""The one door to the write side: a command in, its answer out, whatever races on the way.

A version conflict means that somebody was faster: the handler runs again on what is there now. So it does when it
refused, or found nothing to do, on aggregates that may have been behind: no append has put that to the test. Nothing
else is retried here, since after an unknown outcome only the caller can decide (with an idempotency key, safely).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commands import (
    apps,
    clients,
    contact_numbers,
    contacts,
    messaging,
    push_contacts,
    refresh,
    resolution,
    sdk_clients,
    sdk_contacts,
    threads,
    web_domains,
)
from commands.port import ContentCheck, EventStore, ThreadDirectory, TokenOwners, VersionConflict
from commands.scope import Claim, Scope
from domain.context import Caller, Context
from domain.errors import Conflict, Forbidden, NotFound
from domain.ids import Ids
from domain.request import Request

ATTEMPTS_MAX = 10
"""Tries of one command against version conflicts; more means that something else is wrong."""
PAUSE_S, PAUSE_S_MAX = 0.004, 0.25
"""Before the third try; each later one is up to twice as far away, at random, so that many who race get through."""

Handler = Callable[[Any, Scope], Awaitable[Any]]

HANDLERS: dict[type[msgspec.Struct], Handler] = {
    messaging.Publish: messaging.publish,
    messaging.Send: messaging.send,
    messaging.Multicast: messaging.multicast,
    messaging.Broadcast: messaging.broadcast,
    messaging.SendToApp: messaging.send_to_app,
    messaging.Cancel: messaging.cancel,
    messaging.FallDue: messaging.fall_due,
    messaging.NoteDispatched: messaging.note_dispatched,
    messaging.Settle: messaging.settle,
    threads.OpenThread: threads.open_thread,
    threads.ChangeThread: threads.change_thread,
    threads.CloseThread: threads.close_thread,
    threads.Subscribe: threads.subscribe,
    threads.Unsubscribe: threads.unsubscribe,
    contacts.PutContact: contacts.put_contact,
    contacts.EraseContact: contacts.erase_contact,
    contacts.FindContactAddressGone: contacts.find_contact_address_gone,
    contacts.SuppressChannel: contacts.suppress_channel,
    contacts.DoubtContactAddress: contacts.doubt_contact_address,
    contacts.RestoreChannel: contacts.restore_channel,
    contacts.EndSubscription: contacts.end_subscription,
    clients.Enlist: clients.enlist,
    clients.ForgetClient: clients.forget_client,
    clients.FindAddressGone: clients.find_address_gone,
    clients.QuarantineAddress: clients.quarantine_address,
    clients.LoseAddress: clients.lose_address,
    clients.Unlink: clients.unlink,
    push_contacts.RegisterPushContact: push_contacts.register_push_contact,
    push_contacts.SetPushAddress: push_contacts.set_push_address,
    push_contacts.SetPushEmail: push_contacts.set_push_email,
    push_contacts.SetPushVisitor: push_contacts.set_push_visitor,
    push_contacts.DeletePushContact: push_contacts.delete_push_contact,
    web_domains.PutWebDomain: web_domains.put_web_domain,
    web_domains.KeepMessage: web_domains.keep_message,
    web_domains.SendCopies: web_domains.send_copies,
    apps.RegisterApp: apps.register_app,
    apps.ChangeApp: apps.change_app,
    apps.RetireApp: apps.retire_app,
    contact_numbers.NumberContact: contact_numbers.number_contact,
    resolution.ResolveContact: resolution.resolve_contact,
    resolution.MendClient: resolution.mend_client,
    sdk_clients.RegisterClient: sdk_clients.register_client,
    sdk_clients.SetPushToken: sdk_clients.set_push_token,
    sdk_clients.ClearPushToken: sdk_clients.clear_push_token,
    sdk_clients.LookAtClient: sdk_clients.look_at_client,
    sdk_clients.MoveIn: sdk_clients.move_in,
    sdk_clients.MoveOut: sdk_clients.move_out,
    sdk_contacts.IdentifyContact: sdk_contacts.identify_contact,
    sdk_contacts.MakeAnonymous: sdk_contacts.make_anonymous,
    sdk_contacts.RefreshContact: sdk_contacts.refresh_contact,
    sdk_contacts.IdentifyAppless: sdk_contacts.identify_appless,
    sdk_contacts.RefreshAppless: sdk_contacts.refresh_appless,
    refresh.OpenFamily: refresh.open_family,
    refresh.IssueRefresh: refresh.issue_refresh,
    refresh.UseRefresh: refresh.use_refresh,
    refresh.EndFamily: refresh.end_family,
}

CREATES = frozenset(
    {
        messaging.Publish,
        messaging.Send,
        messaging.Multicast,
        messaging.Broadcast,
        messaging.SendToApp,
        web_domains.SendCopies,
    }
)
"""Commands whose claim is the id of what they create; the others leave a claim event beside theirs."""


ANSWERS: dict[type[msgspec.Struct], type] = {
    threads.OpenThread: threads.Opened,
    clients.Enlist: UUID,
    web_domains.KeepMessage: UUID,
}
"""What commands that may be claimed and create nothing answer, where that is something."""


@dataclass(frozen=True, slots=True)
class Bus:
    """clock: now, in UTC. nonce: 128 fresh random bits, as 32 hex digits. owners None: nobody says who they are."""

    store: EventStore
    threads: ThreadDirectory
    check: ContentCheck
    ids: Ids
    clock: Callable[[], datetime]
    nonce: Callable[[], str]
    owners: TokenOwners | None = None

    async def execute(
        self,
        command: msgspec.Struct,
        context: Context,
        *,
        caller: Caller | None = None,
        claim: Claim | None = None,
    ) -> Any:
        """Carry the command out; the handler's answer.

        caller None: one of our own processes, which may do anything. claim: from `claim_for`, for calls with an
        Idempotency-Key; a twin gets the first call's answer. Errors: domain.errors.
        """
        handler = HANDLERS[type(command)]
        for attempt in range(ATTEMPTS_MAX):
            scope = Scope(
                store=self.store,
                threads=self.threads,
                check=self.check,
                ids=self.ids,
                context=context,
                now=self.clock(),
                nonce=self.nonce,
                owners=self.owners,
                caller=caller,
                claim=claim,
                fresh=attempt > 0,
            )
            if claim and type(command) not in CREATES and (twin := await scope.twin()) is not None:
                return _first_answer(type(command), twin)
            try:
                answer = await handler(command, scope)
            except VersionConflict:
                if attempt + 1 == ATTEMPTS_MAX:
                    raise
                await _rest(attempt)
            except (NotFound, Forbidden, Conflict):
                if scope.is_certain:
                    raise
            else:
                if scope.is_certain:
                    return answer
        raise AssertionError("unreachable")


async def _rest(attempt: int) -> None:
    """Who has lost one race tries again at once; who loses more stands back for a while."""
    if attempt:
        await asyncio.sleep(random.uniform(0, min(PAUSE_S * 2**attempt, PAUSE_S_MAX)))  # noqa: S311


def _first_answer(command: type[msgspec.Struct], twin: Request) -> Any:
    """What the first of two equal calls was told; None where it was not written down (request.made.v1)."""
    kind = ANSWERS.get(command)
    return None if kind is None or twin.answer is None else msgspec.convert(twin.answer, kind)
