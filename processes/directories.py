"""What the processes and the API ask about merchants, their apps and their contacts. Implementations live in infra/.

Each of the four is a look-up in somebody else's keeping, or in our own where nobody else is there. Errors, of all of
them: domain.errors.Unavailable, which names who did not answer; nothing was changed, or the same call changes nothing
more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from domain.app import AppFacts
from domain.app_settings import FIELD_MAX
from domain.errors import Invalid, Unavailable

CONTACT_ID_MAX = 2**53 - 1
"""The largest number that JavaScript reads exactly: contact ids travel in tokens that browsers decode."""


class Identified(msgspec.Struct, frozen=True, kw_only=True, tag="field", tag_field="kind"):
    """A contact by what the app calls it: the value of a contact field; encrypted: for the contact data to open."""

    merchant: str
    field: int
    value: str
    encrypted: bool = False


class Anonymous(msgspec.Struct, frozen=True, kw_only=True, tag="anonymous", tag_field="kind"):
    """A contact of whom nothing is known. reference: our own word for it, the same on each call."""

    merchant: str
    reference: str


ContactKey = Identified | Anonymous

VALUE_MAX = 1_024
"""Characters of a contact field's value; an OpenID subject or an e-mail address has at most 320."""


def assert_key(key: ContactKey) -> None:
    """Raises Invalid for a key that can name nobody, in the words of the call that it came with."""
    if isinstance(key, Anonymous):
        if not 1 <= len(key.reference) <= VALUE_MAX:
            raise Invalid(f"1 to {VALUE_MAX:,} characters", field="anonymous")
        return
    if not 1 <= key.field <= FIELD_MAX:
        raise Invalid(f"a field's number is 1 to {FIELD_MAX}", field="contactFieldId")
    if not 1 <= len(key.value) <= VALUE_MAX:
        raise Invalid(f"1 to {VALUE_MAX:,} characters", field="contactFieldValue")


class ContactData(Protocol):
    """Numeric contact ids.

    Guarantee: within a merchant, the same key has the same id for ever, and no two keys that name different contacts
    share one. A key that is new makes a contact.
    """

    async def resolve(self, key: ContactKey) -> int:
        """1 to CONTACT_ID_MAX. Safe to repeat. Raises Unavailable, or Invalid for a key that will never have one."""
        ...


class Unreadable(Unavailable):
    """Who was asked did answer, but nobody can make sense of it: asked again at once it would say the same."""


class AppMetadata(Protocol):
    """The source of what is known of an app; slow, and asked as seldom as can be."""

    async def app(self, code: str) -> AppFacts | None:
        """None when there is no such app, or it is retired. Raises Unavailable, or Unreadable for this one app."""
        ...


Toll = Callable[[], None]


class AppDirectory(Protocol):
    """The same from memory: for every call.

    At most a second behind our own events about the app; at most a day behind a source that sends none.
    """

    def known(self, code: str) -> AppFacts | None:
        """As `app`, where that is in memory under this very code and still holds; else None: ask `app`. Quick."""
        ...

    async def app(self, code: str, *, toll: Toll | None = None) -> AppFacts | None:
        """None when there is no such app, or it is retired. The code's letters' case is nothing. Raises Unavailable.

        toll: called before a look-up that nobody has under way, which costs reads of the log's leaders; what it raises
        refuses the look-up. For codes that are anybody's word.
        """
        ...

    async def refresh(self, code: str) -> None:
        """Have every process ask the source anew, for one that sends no events.

        Raises Unavailable, also when the source does not answer: nothing is forgotten then.
        """
        ...


class MerchantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """anonymous_contacts: False forbids them in all of the merchant's apps.

    contact_token_lifetime_s: None: as long as the exchange gives them.
    """

    merchant: str
    anonymous_contacts: bool = True
    default_contact_field: int | None = None
    contact_token_lifetime_s: Annotated[int, Meta(ge=60, le=7 * 86_400)] | None = None


class Merchants(Protocol):
    def known(self, merchant: str) -> MerchantSettings | None:
        """As `settings`, where they are in memory and still hold; else None: ask for them. Quick."""
        ...

    async def settings(self, merchant: str) -> MerchantSettings:
        """Of a merchant that nobody knows: the defaults. Raises Unavailable."""
        ...

    async def is_known(self, merchant: str) -> bool:
        """Whether there is such a merchant: a service of merchants says so, or it has an app here.

        Raises Unavailable when that can't be said.
        """
        ...
