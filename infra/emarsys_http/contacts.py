"""Numeric contact ids from a contact service: `POST /contacts/resolve`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.errors import Invalid, Unavailable
from infra.emarsys_http.service import Denied, Service
from processes.directories import CONTACT_ID_MAX, Anonymous, ContactKey, assert_key


class _Resolved(msgspec.Struct, frozen=True, rename="camel"):
    contact_id: Annotated[int, Meta(ge=1, le=CONTACT_ID_MAX)]


class HttpContacts:
    """processes.directories.ContactData."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def resolve(self, key: ContactKey) -> int:
        assert_key(key)
        answer = await self._service.post("/contacts/resolve", question(key), _Resolved)
        match answer:
            case _Resolved():
                return answer.contact_id
            case Denied():
                raise Invalid("the contact service has no contact by this", field=_field(key))
            case _:
                # The call creates what is not there: nothing to resolve means the wrong address.
                raise Unavailable(f"{self._service.name} has no /contacts/resolve")


def question(key: ContactKey) -> dict[str, Any]:
    if isinstance(key, Anonymous):
        return {"merchant": key.merchant, "anonymous": key.reference}
    question = {"merchant": key.merchant, "contactFieldId": key.field, "contactFieldValue": key.value}
    return {**question, "contactFieldEncrypted": True} if key.encrypted else question


def _field(key: ContactKey) -> str:
    return "anonymous" if isinstance(key, Anonymous) else "contactFieldValue"
