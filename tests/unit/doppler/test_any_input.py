"""Whatever a caller sends: an answer of the contract, never a failure of ours; and pages that leave nothing out."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.doppler.table import ROUTES
from tests.unit.doppler.shop import DOMAIN, ask, contact, domain, doppler_site

SPELLED = (
    "domain deviceToken email visitorGuid subscription endPoint keys p256DH auth message title body onClickLink "
    "imageUrl iconUrl preferLargeImage actions action link replacementIsMandatory fields visitorsFieldsList "
    "isPushFeatureEnabled usesExternalPushDomain externalPushDomain sentSuccess eventDate details messageId VISITORGUID"
)
NAMES = SPELLED.split()
TEXTS = st.text(max_size=20) | st.sampled_from(
    [DOMAIN, "https://example.org/", "http://x", "//", "[[[a]]]", "v-1", "2026-01-01T00:00:00Z", "\0", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=6)
    ),
    max_leaves=12,
)
QUERIES = st.dictionaries(
    st.sampled_from(
        ["domain", "email", "from", "to", "page", "per_page", "nextCursor", "messageIds", "period"]
    ),
    TEXTS | st.sampled_from(["-1", "0", "1", "101", "1e3", "٣", "2026-01-01", "9999-12-31T23:59:59-23:59"]),
    max_size=5,
)
ROUTE = st.sampled_from(ROUTES)
WAYS = st.lists(st.tuples(ROUTE, JSON, QUERIES, TEXTS), min_size=40, max_size=60)
SLOW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW
@given(WAYS)
async def test_any_body_and_any_query_is_answered_by_the_contract(
    ways: list[tuple[Any, Any, Any, str]],
) -> None:
    """2xx or 4xx from every endpoint, as superuser, whatever stands in path, query and body."""
    async with doppler_site() as it:
        await domain(it)
        for route, body, query, text in ways:
            path = "/".join(
                (text.replace("/", "") or DOMAIN) if part.startswith("{") else part
                for part in route.path.split("/")
            )
            got = await ask(it, route.method, quote(path), body, **query)
            assert got.status_code < 500, (route.path, body, query, text, got.text)


@SLOW
@given(st.lists(st.text("aZ0é-_", min_size=1, max_size=4), max_size=12), st.integers(1, 5))
async def test_pages_of_guids_hold_every_visitor_once(guids: list[str], per_page: int) -> None:
    """Following nextCursor to its end; a visitor of two browsers is one."""
    async with doppler_site() as it:
        await domain(it)
        for number, guid in enumerate(guids):
            await contact(it, f"token-{number}", visitorGuid=guid)
        found: list[str] = []
        cursor = ""
        while True:
            asked: dict[str, Any] = {
                "domain": DOMAIN,
                "per_page": per_page,
                **({"nextCursor": cursor} if cursor else {}),
            }
            page = (await ask(it, "GET", "/push-contacts/visitor-guids", **asked)).json()
            if not page["items"]:
                break
            found += page["items"]
            cursor = page["nextCursor"]
        assert sorted(found) == sorted(set(guids))
