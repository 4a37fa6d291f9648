"""Domains: their flags, how many push contacts they have, and what pages may know of them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from api.doppler.dialect import ERROR, PROBLEM, whole
from api.doppler.door import admit
from api.parts import Parts
from api.route import Answer, Call, Header, Route, Who
from commands.web_domains import PutWebDomain
from domain.app import AppFacts, assert_code
from domain.context import DEFAULT_REALM, Context
from domain.errors import Invalid, NotFound
from projections import push_contacts

GROUP = "web domains"
EMPTY = Answer(b"", media_type="text/plain")
COUNTED_AT_ONCE = 8
"""Domains whose push contacts are counted at a time, each by 64 reads."""
_CACHED: tuple[Header, ...] = ((b"cache-control", b"public, max-age=120"),)


class DomainBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of a domain's flags; one that is left out is false."""

    is_push_feature_enabled: bool = False
    uses_external_push_domain: bool = False
    external_push_domain: str | None = None


_FIELDS = dict(zip(DomainBody.__struct_fields__, DomainBody.__struct_encode_fields__, strict=True))
"""Ours as the contract spells them."""


class DomainView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    is_push_feature_enabled: bool
    uses_external_push_domain: bool
    external_push_domain: str | None


class PushConfiguration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """vapid_public_key: what the page gives to pushManager.subscribe; not in the original."""

    is_push_feature_enabled: bool
    uses_external_push_domain: bool
    external_push_domain: str | None
    vapid_public_key: str


class ContactsStats(msgspec.Struct, frozen=True, kw_only=True):
    deleted: int
    active: int
    total: int


class DomainStats(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    contacts_stats: ContactsStats


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """page: how many items are passed over, as in the original."""

    page: str | None = None
    per_page: str | None = None

    def bounds(self, *, most: int = 100, least: int = 0) -> tuple[int, int]:
        """Raises Invalid."""
        page = whole(self.page, "page", 0, least=least, most=999_999_999)
        return page, whole(self.per_page, "per_page", most, least=1, most=most)


class DomainQuantities(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    push_contact_active_quantity: int
    push_contact_inactive_quantity: int


class DomainsPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[DomainQuantities]
    page: int
    per_page: int


async def web_domain(parts: Parts, name: str, realm: str | None = None) -> AppFacts | None:
    """The domain of this name, if it is one and the realm's (None: any)."""
    facts = await parts.apps.app(name)
    if facts is None or facts.settings.kind != "web-domain" or (realm and facts.realm != realm):
        return None
    return facts


async def known(parts: Parts, name: str, realm: str | None = None) -> AppFacts:
    """Raises NotFound."""
    facts = await web_domain(parts, name, realm)
    if facts is None:
        raise NotFound(f"there is no domain {name!r}", field="name")
    return facts


async def realm_of(parts: Parts, name: str) -> str:
    """Where a domain's push contacts are; a domain that nobody has configured is in the default realm.

    Raises Invalid for the code of an app, whose messages are not for push contacts.
    """
    facts = await parts.apps.app(name)
    if facts is not None and facts.settings.kind != "web-domain":
        raise Invalid(f"{name!r} is the code of an app, not a domain", field="domain")
    return facts.realm if facts is not None else DEFAULT_REALM


def enabled(facts: AppFacts | None) -> bool:
    return facts is not None and facts.settings.is_push_feature_enabled


def context_in(call: Call[Any, Any], realm: str) -> Context:
    return msgspec.structs.replace(call.context, realm=realm)


async def put(call: Call[DomainBody, None]) -> Answer:
    name, body = call.path["name"], call.body
    assert_code(name, field="name")
    command = PutWebDomain(
        name=name,
        is_push_feature_enabled=body.is_push_feature_enabled,
        uses_external_push_domain=body.uses_external_push_domain,
        external_push_domain=(body.external_push_domain or "").strip().lower(),
    )
    try:
        await call.parts.bus.execute(command, call.context)
    except Invalid as error:
        raise Invalid(error.detail, field=_FIELDS.get(error.field or "", error.field)) from None
    return EMPTY


async def get(call: Call[None, None]) -> Answer:
    facts = await known(call.parts, call.path["name"], call.caller.realm)
    settings = facts.settings
    return Answer(
        DomainView(
            name=facts.code,
            is_push_feature_enabled=settings.is_push_feature_enabled,
            uses_external_push_domain=settings.uses_external_push_domain,
            external_push_domain=settings.external_push_domain or None,
        )
    )


async def is_enabled(call: Call[None, None]) -> Answer:
    facts = await known(call.parts, call.path["name"])
    return Answer(facts.settings.is_push_feature_enabled, headers=_CACHED)


async def push_configuration(call: Call[None, None]) -> Answer:
    facts = await known(call.parts, call.path["name"])
    settings = facts.settings
    return Answer(
        PushConfiguration(
            is_push_feature_enabled=settings.is_push_feature_enabled,
            uses_external_push_domain=settings.uses_external_push_domain,
            external_push_domain=settings.external_push_domain or None,
            vapid_public_key=await call.parts.vapid.public_key(facts.id),
        )
    )


async def stats(call: Call[None, None]) -> Answer:
    facts = await known(call.parts, call.path["name"], call.caller.realm)
    active, deleted = await push_contacts.quantities(call.parts.models, facts.realm, facts.code.casefold())
    counted = ContactsStats(deleted=deleted, active=active, total=active + deleted)
    return Answer(DomainStats(name=facts.code, contacts_stats=counted))


async def domains(call: Call[None, PageQuery]) -> Answer:
    page, per_page = call.query.bounds()
    realm, models = call.caller.realm, call.parts.models
    names = (await push_contacts.domains(models, realm))[page : page + per_page]
    room = asyncio.Semaphore(COUNTED_AT_ONCE)

    async def one(name: str) -> DomainQuantities:
        async with room:
            active, deleted = await push_contacts.quantities(models, realm, name)
        return DomainQuantities(
            name=name, push_contact_active_quantity=active, push_contact_inactive_quantity=deleted
        )

    items = await asyncio.gather(*(one(name) for name in names))
    return Answer(DomainsPage(items=items, page=page + len(items), per_page=per_page))


_READS = ("push_contacts",)

ROUTES: tuple[Route, ...] = (
    Route(
        method="PUT",
        path="/domains/{name}",
        handler=put,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        body=DomainBody,
        answer=str,
        media_type="text/plain",
        summary="Configure a domain: all of its flags at once.",
        group=GROUP,
        errors=(Invalid,),
    ),
    Route(
        method="GET",
        path="/domains/{name}",
        handler=get,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=ERROR,
        answer=DomainView,
        summary="A domain's flags.",
        group=GROUP,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/domains/{name}/isPushFeatureEnabled",
        handler=is_enabled,
        who=Who.ANYONE,
        dialect=ERROR,
        answer=bool,
        summary="Whether a domain sends push messages.",
        group=GROUP,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/domains/{name}/push-configuration",
        handler=push_configuration,
        who=Who.ANYONE,
        dialect=ERROR,
        answer=PushConfiguration,
        summary="What a domain's pages need to register browsers.",
        group=GROUP,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/domains/{name}/stats",
        handler=stats,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=ERROR,
        answer=DomainStats,
        summary="How many push contacts a domain has.",
        group=GROUP,
        reads=_READS,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/push-contacts/domains",
        handler=domains,
        who=Who.SUPERUSER,
        admit=admit,
        dialect=PROBLEM,
        query=PageQuery,
        answer=DomainsPage,
        summary="Domains by name, with their push contacts; page counts items, not pages.",
        group=GROUP,
        reads=_READS,
    ),
)
