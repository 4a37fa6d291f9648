"""Refresh tokens as commands: a client's next one, one that is used, one that was stolen."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest

from commands import bus
from commands.clients import Enlist
from commands.refresh import (
    EndFamily,
    IssueRefresh,
    Next,
    OpenFamily,
    Refreshed,
    UseRefresh,
    end_tokens,
    next_token,
)
from commands.scope import Scope
from commands.sdk_contacts import Appless, IdentifyAppless
from domain.client import Client
from domain.contact import Identity
from domain.context import Context
from domain.errors import NotFound
from domain.recorded import EVENTS
from domain.refresh_family import GENERATIONS_MAX, GRACE, RefreshFamily, RefreshRefused, RefreshToken
from tests.memory.world import IDS, REALM, World

HANDLERS: dict[Any, Any] = bus.HANDLERS
ANN, BOB = IDS.contact(REALM, "ann"), IDS.contact(REALM, "bob")
APP = "msgxc"


@pytest.fixture
async def made() -> World:
    return World()


@pytest.fixture
async def phone(made: World) -> UUID:
    client: UUID = await made.do(Enlist(uid="ann", channel="apns", identity="t", address="t"))
    return client


async def used(made: World, token: str, app: str = APP) -> Refreshed:
    answer: Refreshed = await made.do(UseRefresh(token=token, app=app))
    return answer


def kinds(made: World, since: int) -> list[type]:
    return [type(fact.body) for fact in made.facts(EVENTS)[since:]]


def length(made: World) -> int:
    return len(made.streams.messages[EVENTS])


async def test_a_clients_token_says_whose_it_is_and_using_it_changes_nothing(
    made: World, phone: UUID
) -> None:
    """A refresh does not rotate: the same token is good again and again, and nothing is appended."""
    token = await made.do(IssueRefresh(client=phone, contact=ANN))
    before = length(made)
    for _ in range(3):
        assert await used(made, token) == Refreshed(RefreshToken.parse(token).family, ANN, phone)
    assert length(made) == before


async def test_no_token_is_on_the_log(made: World, phone: UUID) -> None:
    """Only its hash is."""
    token = RefreshToken.parse(await made.do(IssueRefresh(client=phone, contact=ANN)))
    stored = msgspec.json.encode([vars(fact.body) for fact in made.facts(EVENTS)])
    assert token.hash.encode() in stored
    assert token.text.encode() not in stored
    assert token.secret.hex().encode() not in stored


async def test_the_next_token_follows_the_contact(made: World, phone: UUID) -> None:
    """Whoever is signed in now is who a refresh is for, even with the token of before, within its grace."""
    former = await made.do(IssueRefresh(client=phone, contact=ANN))
    latter = await made.do(IssueRefresh(client=phone, contact=BOB))
    assert (await used(made, latter)).contact == BOB
    assert (await used(made, former)).contact == BOB


async def test_a_superseded_token_used_after_its_grace_ends_the_family(made: World, phone: UUID) -> None:
    """Both are refused from then on, the log says why, and signing in anew starts afresh."""
    former = await made.do(IssueRefresh(client=phone, contact=ANN))
    latter = await made.do(IssueRefresh(client=phone, contact=ANN))
    made.clock.advance(GRACE.total_seconds() + 1)
    before = length(made)
    for token in (former, latter, former):
        with pytest.raises(RefreshRefused):
            await used(made, token)
    assert kinds(made, before) == [RefreshFamily.Reused]
    again = await made.do(IssueRefresh(client=phone, contact=ANN))
    assert kinds(made, before + 1) == [Client.RefreshOpened, RefreshFamily.Opened]
    assert (await used(made, again)).client == phone
    with pytest.raises(RefreshRefused):
        await used(made, latter)


async def test_a_full_family_gives_way_to_another(made: World, phone: UUID) -> None:
    """The device goes on without noticing; the last token of the full family has its grace."""
    last = [await made.do(IssueRefresh(client=phone, contact=ANN)) for _ in range(GENERATIONS_MAX)][-1]
    before = length(made)
    first = await made.do(IssueRefresh(client=phone, contact=ANN))
    assert kinds(made, before) == [Client.RefreshOpened, RefreshFamily.Ended, RefreshFamily.Opened]
    assert await used(made, last)
    second = await made.do(IssueRefresh(client=phone, contact=ANN))
    assert RefreshToken.parse(second).family == RefreshToken.parse(first).family
    made.clock.advance(GRACE.total_seconds() + 1)
    with pytest.raises(RefreshRefused):
        await used(made, last)
    assert await used(made, second)


async def test_a_token_is_good_in_its_own_app_and_realm_alone(made: World, phone: UUID) -> None:
    """Elsewhere it is refused, and its family goes on."""
    token = await made.do(IssueRefresh(client=phone, contact=ANN))
    with pytest.raises(RefreshRefused):
        await used(made, token, "other-app")
    with pytest.raises(RefreshRefused):
        await made.own.bus.execute(UseRefresh(token=token, app=APP), Context("other", "test"))
    assert await used(made, token, APP.upper())


async def test_an_appless_contact_has_a_family_of_its_own(made: World) -> None:
    """Each sign-in is another family; ending one leaves the others."""
    one, two = [await made.do(OpenFamily(contact=ANN)) for _ in range(2)]
    family = RefreshToken.parse(one).family
    assert await used(made, one, "") == Refreshed(family, ANN, None)
    await made.do(EndFamily(family=family, reason="signed-out"))
    with pytest.raises(RefreshRefused):
        await used(made, one, "")
    assert (await used(made, two, "")).contact == ANN


async def test_who_holds_an_appless_family_goes_on_with_it(made: World) -> None:
    """Up to its end: a full one gives way to another; one that has ended, a client's and another contact's do not
    serve.
    """

    async def signed_in(held: UUID | None, who: str = "ann") -> Appless:
        answer: Appless = await made.do(
            IdentifyAppless(identity=Identity(3, f"{who}@example.org"), family=held)
        )
        return answer

    first = await signed_in(None)
    held = [await signed_in(first.family) for _ in range(GENERATIONS_MAX - 1)]
    assert {each.family for each in held} == {first.family}
    before = length(made)
    next_one = await signed_in(first.family)
    assert kinds(made, before) == [RefreshFamily.Ended, RefreshFamily.Opened]
    assert (await used(made, next_one.refresh_token, "")).family == next_one.family
    assert (await signed_in(first.family)).family not in (first.family, next_one.family)
    assert (await signed_in(next_one.family, "bob")).family != next_one.family
    client = await made.do(Enlist(uid="ann", channel="apns", identity="t", address="t"))
    of_client = RefreshToken.parse(await made.do(IssueRefresh(client=client, contact=ANN))).family
    assert (await signed_in(of_client)).family != of_client


async def test_what_is_not_there_is_refused(made: World, phone: UUID) -> None:
    """Garbage, a token of no family, a secret of one's own making: 400, nothing on the log."""
    token = RefreshToken.parse(await made.do(IssueRefresh(client=phone, contact=ANN)))
    before = length(made)
    strangers = [token._replace(family=ANN), token._replace(secret=bytes(32)), token._replace(generation=0)]
    strangers.append(token._replace(generation=2))
    for text in ["", "x", "é" * 70, "!" * 70, token.text + "=", *(each.text for each in strangers)]:
        with pytest.raises(RefreshRefused):
            await used(made, text)
    with pytest.raises(NotFound):
        await made.do(IssueRefresh(client=ANN, contact=ANN))
    with pytest.raises(NotFound):
        await made.do(EndFamily(family=ANN, reason="signed-out"))
    assert length(made) == before
    assert await used(made, token.text)


class SignIn(msgspec.Struct, frozen=True):
    """A handler as the client service has it: link and token in one batch."""

    client: UUID


async def sign_in(command: SignIn, scope: Scope) -> str:
    client = await scope.load(Client, command.client)
    assert client is not None
    client.link(at=scope.now, contact=BOB, uid="bob")
    issued: Next = await next_token(scope, client=client, contact=BOB)
    await scope.save(client, *issued.changed)
    return issued.token.text


async def sign_out(command: SignIn, scope: Scope) -> None:
    client = await scope.load(Client, command.client)
    assert client is not None
    await scope.save(*await end_tokens(scope, client=client, reason="moved"))


async def test_a_handler_saves_link_and_token_at_once(
    made: World, phone: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are on the log, side by side; and all tokens can be ended the same way."""
    monkeypatch.setitem(HANDLERS, SignIn, sign_in)
    before = length(made)
    token = await made.do(SignIn(phone))
    assert kinds(made, before) == [Client.ContactLinked, RefreshFamily.Opened]
    assert (await used(made, token)).contact == BOB
    monkeypatch.setitem(HANDLERS, SignIn, sign_out)
    await made.do(SignIn(phone))
    await made.do(SignIn(phone))
    with pytest.raises(RefreshRefused):
        await used(made, token)


async def test_sign_ins_that_race_get_a_token_each(made: World, phone: UUID) -> None:
    """One generation after the other; the last is the good one, and all were within the grace."""
    texts = await asyncio.gather(*(made.do(IssueRefresh(client=phone, contact=ANN)) for _ in range(4)))
    tokens = sorted(RefreshToken.parse(text) for text in texts)
    assert [token.generation for token in tokens] == [1, 2, 3, 4]
    for token in tokens:
        assert (await used(made, token.text)).client == phone
    made.clock.advance(GRACE.total_seconds() + 1)
    assert (await used(made, tokens[-1].text)).client == phone


async def test_a_thief_and_a_sign_in_at_once(made: World, phone: UUID) -> None:
    """Whichever is first: the thief gets nothing, the family ends once, and the device has a good token at the end."""
    former = await made.do(IssueRefresh(client=phone, contact=ANN))
    await made.do(IssueRefresh(client=phone, contact=ANN))
    made.clock.advance(GRACE.total_seconds() + 1)
    before = length(made)
    issuing = asyncio.create_task(made.do(IssueRefresh(client=phone, contact=ANN)))
    thefts = await asyncio.gather(used(made, former), used(made, former), return_exceptions=True)
    token = await issuing
    assert all(isinstance(theft, RefreshRefused) for theft in thefts)
    assert kinds(made, before).count(RefreshFamily.Reused) == 1
    if not await is_good(made, token):
        token = await made.do(IssueRefresh(client=phone, contact=ANN))
    assert await is_good(made, token)


async def is_good(made: World, token: str) -> bool:
    try:
        await used(made, token)
    except RefreshRefused:
        return False
    return True
