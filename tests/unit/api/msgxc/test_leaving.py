"""One click out of the mails (RFC 8058): who has a mail's link, and nobody else, ends the mails to whom it was sent."""

from __future__ import annotations

from uuid import UUID

import pytest

from api.msgxc.leaving import PATH
from domain.deliveries.delivery import Receipt
from domain.notifications.sid import sid_key, sid_of
from domain.people.leaving import Leaver, leaving_key, leaving_token
from domain.recorded import DELIVERY
from tests.memory.site import LEAVING_KEY, Site, site
from tests.memory.world import IDS, REALM

MESSAGE, ANN = UUID(int=7), IDS.contact(REALM, "ann")
LINK = PATH + leaving_token(LEAVING_KEY, Leaver(REALM, MESSAGE, ANN))
ID_KEY = b"an id key for tests, of 32 bytes"
FORM = {"content-type": "application/x-www-form-urlencoded"}


async def suppressed(it: Site) -> dict[str, str]:
    found: dict[str, str] = (await it.admin("GET", "/api/v2/contacts/ann"))["suppressed"]
    return found


async def test_a_mailbox_posts_and_the_mails_end() -> None:
    """Without a token or a page: no more mails, for that reason, and a receipt of the mail it came from. Once."""
    async with site() as it:
        await it.admin("PUT", "/api/v2/contacts/ann", {"email": "ann@example.org"})
        for _ in range(2):
            got = await it.call("POST", LINK, b"List-Unsubscribe=One-Click", by=None, headers=FORM)
            assert (got.status_code, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert await suppressed(it) == {"email": "unsubscribe"}
        await it.admin("PUT", "/api/v2/contacts/ann", {"email": "ann@new.example.org"})
        assert await suppressed(it) == {"email": "unsubscribe"}
        log = it.world.own.log
        facts = [log.unpack(DELIVERY, stored).body for stored in it.world.streams.messages[DELIVERY]]
        said = [fact for fact in facts if isinstance(fact, Receipt)]
        assert {(one.kind, one.message, one.contact, one.channel) for one in said} == {
            ("unsubscribed", MESSAGE, ANN, "email")
        }


async def test_opening_the_link_asks_first() -> None:
    """Programs that look at links end nothing: a page with a button, which runs nothing and is kept by nobody."""
    async with site() as it:
        await it.admin("PUT", "/api/v2/contacts/ann", {"email": "ann@example.org"})
        got = await it.call("GET", LINK, by=None)
        assert got.status_code == 200
        assert '<form method="post">' in got.text
        assert "script-src 'none'" in got.headers["content-security-policy"]
        assert "form-action 'self'" in got.headers["content-security-policy"]
        assert got.headers["cache-control"] == "no-store"
        assert await suppressed(it) == {}


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        leaving_token(leaving_key(b"another id key, of 32 bytes also"), Leaver(REALM, MESSAGE, ANN)),
        sid_of(sid_key(ID_KEY), REALM, MESSAGE, channel="email", contact=ANN),
        LINK.removeprefix(PATH)[:-1] + ("A" if LINK[-1] != "A" else "B"),
        leaving_token(LEAVING_KEY, Leaver("other", MESSAGE, IDS.contact("other", "ann"))),
    ],
    ids=["nonsense", "another exchange's", "a push's sid", "changed", "of nobody"],
)
async def test_a_link_that_is_none_of_ours_does_nothing(token: str) -> None:
    """404, whatever is wrong with it; nobody's mails end."""
    async with site() as it:
        await it.admin("PUT", "/api/v2/contacts/ann", {"email": "ann@example.org"})
        assert (await it.call("POST", PATH + token, b"", by=None, headers=FORM)).status_code == 404
        assert await suppressed(it) == {}
