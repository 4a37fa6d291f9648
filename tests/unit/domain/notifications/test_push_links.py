"""Links that browsers report by, and placeholders: sealed, bound to what they are, filled exactly."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.notifications.placeholders import fill, missing
from domain.notifications.push_links import (
    BadLink,
    ContactLink,
    MessageLink,
    month_of_link,
    open_link,
    seal_link,
)

KEY, OTHER = bytes(32), bytes([1]) * 32
MONTH = 2026 * 12
IDS = st.uuids()


@given(IDS, IDS, IDS, st.sampled_from(["fcm", "webpush"]))
def test_a_link_opens_as_what_it_was_made_from(app: UUID, client: UUID, contact: UUID, channel: str) -> None:
    """By its month's key, and by no other; as the part it is, and as no other."""
    part = ContactLink("main", app, channel, client, contact)
    text = seal_link(part, KEY, MONTH)
    assert month_of_link(text) == MONTH
    assert open_link(text, ContactLink, KEY) == part
    with pytest.raises(BadLink):
        open_link(text, ContactLink, OTHER)
    with pytest.raises(BadLink):
        open_link(text, MessageLink, KEY)


@given(st.text(max_size=600), st.integers(0, 20), st.characters())
def test_what_nobody_made_does_not_open(text: str, at: int, instead: str) -> None:
    """Neither any text nor a link of ours with a letter changed."""
    id = UUID(int=1)
    link = seal_link(MessageLink("main", id, id, id), KEY, MONTH)
    changed = link[:at] + instead + link[at + 1 :]
    for each in (text, changed):
        if each != link:
            with pytest.raises(BadLink):
                open_link(each, MessageLink, KEY)


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True), st.none() | st.text(), max_size=5))
def test_placeholders_are_filled_in_any_case(fields: dict[str, str | None]) -> None:
    """A field's value replaces it, null leaves nothing; what is not known stays, and is named as missing."""
    one_case = {name.lower(): value for name, value in fields.items()}
    for name, value in one_case.items():
        assert fill(f"a[[[{name.upper()}]]]b", one_case) == f"a{value or ''}b"
        assert missing(f"[[[{name}]]]", one_case) == []
    assert fill("[[[no such name]]] [[[~]]]", one_case) == "[[[no such name]]] [[[~]]]"
    assert missing("[[[unknown-to-all-x]]]", {"a": "b"}) == ["unknown-to-all-x"]
