"""Contacts, for admins: who they are, how they may be reached, and their erasure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.addresses import address
from api.msgxc.bodies import Body, Codes, channels_named
from api.route import Answer, Call, Route, Who
from commands.contacts import EraseContact, PutContact
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from projections import contacts, reach

GROUP = "contacts"
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,4}")

Optional = str | None | UnsetType


class ContactBody(Body, frozen=True, kw_only=True):
    """What is left out stays as it is; null or "" takes it away. cell: E.164, such as +14155550100."""

    email: Annotated[Optional, Meta(description="An e-mail address.")] = UNSET
    cell: Annotated[Optional, Meta(description="A phone number in E.164.")] = UNSET
    locale: Annotated[Optional, Meta(description="BCP 47, such as pt-BR.")] = UNSET
    timezone: Annotated[Optional, Meta(description="IANA, such as Europe/Berlin.")] = UNSET
    mtypes: Codes | UnsetType = UNSET

    def command(self, uid: str) -> PutContact:
        """Raises Invalid."""
        return PutContact(
            uid=uid,
            email=UNSET if self.email is UNSET else _email(self.email),
            cell=UNSET if self.cell is UNSET else _cell(self.cell),
            locale=UNSET if self.locale is UNSET else _locale(self.locale),
            time_zone=UNSET if self.timezone is UNSET else _time_zone(self.timezone),
            channels=UNSET if self.mtypes is UNSET else channels_named(self.mtypes),
        )


class ContactView(msgspec.Struct, frozen=True, kw_only=True):
    """suppressed: channels that the person said stop to, with the provider's reason."""

    uid: str
    email: str | None
    cell: str | None
    locale: str | None
    timezone: str | None
    mtypes: list[str] | None
    suppressed: dict[str, str]
    created: datetime | None
    updated: datetime | None


async def put(call: Call[ContactBody, None]) -> Answer:
    uid = call.path["uid"]
    created = await call.parts.bus.execute(call.body.command(uid), call.context, caller=call.caller)
    location = address("/api/v2/contacts", uid) if created else None
    return Answer(status=201 if created else 200, location=location)


async def find(call: Call[None, None]) -> Answer:
    parts, realm, uid = call.parts, call.caller.realm, call.path["uid"]
    id = parts.ids.contact(realm, uid)
    row = await contacts.find(parts.models, realm, id)
    if row is None or row["uid"] is None:
        raise NotFound(f"no contact has the uid {uid!r}", field="uid")
    [person] = await reach.people(parts.models, realm, [id])
    return Answer(
        ContactView(
            uid=row["uid"],
            email=row["email"],
            cell=row["cell"],
            locale=row["locale"] or None,
            timezone=row["time_zone"] or None,
            mtypes=row["channels"],
            suppressed={each.channel: each.suppressed for each in person.addresses if each.suppressed},
            created=row["created"],
            updated=row["updated"],
        )
    )


async def erase(call: Call[None, None]) -> Answer:
    await call.parts.bus.execute(EraseContact(uid=call.path["uid"]), call.context, caller=call.caller)
    return Answer()


def _email(text: str | None) -> str:
    """The address in its canonical form; imported late, it is needed by few processes."""
    if not text:
        return ""
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise Invalid("this is no e-mail address", field="email") from None


def _cell(text: str | None) -> str:
    if not text:
        return ""
    import phonenumbers

    wrong = Invalid("write the number in E.164, such as +14155550100", field="cell")
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        raise wrong from None
    if not phonenumbers.is_possible_number(number):
        raise wrong
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _locale(text: str | None) -> str:
    if text and not _LOCALE.fullmatch(text):
        raise Invalid("write a BCP 47 tag, such as pt-BR", field="locale")
    return (text or "").replace("_", "-")


def _time_zone(text: str | None) -> str:
    if text and text not in available_timezones():
        raise Invalid("write an IANA name, such as Europe/Berlin", field="timezone")
    return text or ""


ROUTES = (
    Route(
        method="PUT",
        path="/api/v2/contacts/{uid}",
        handler=put,
        who=Who.ADMIN,
        body=ContactBody,
        statuses=(200, 201),
        location=True,
        summary="Create or change a contact.",
        group=GROUP,
        errors=(Conflict, Unavailable),
    ),
    Route(
        method="GET",
        path="/api/v2/contacts/{uid}",
        handler=find,
        who=Who.ADMIN,
        answer=ContactView,
        reads=("contacts", "reach"),
        summary="A contact.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
    Route(
        method="DELETE",
        path="/api/v2/contacts/{uid}",
        handler=erase,
        who=Who.ADMIN,
        summary="Erase a contact: nothing personal about them can be read again, anywhere.",
        group=GROUP,
        errors=(NotFound, Unavailable),
    ),
)
