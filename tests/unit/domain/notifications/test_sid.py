"""Send ids: they name a delivery, and nobody else can make one."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.notifications.sid import SID_CHARS_MAX, Sid, read_sid, sid_key, sid_of

KEY = sid_key(b"an id key for tests, of 32 bytes")
REALMS = st.text(min_size=1, max_size=64)
CLIENT, CONTACT = UUID(int=2**127 + 5), UUID(int=7)
WHOM = ({"client": CLIENT}, {"contact": CONTACT}, {"client": CLIENT, "contact": CONTACT})
CHANNELS = st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True)


@given(realm=REALMS, message=st.uuids(), who=st.sampled_from(WHOM), channel=CHANNELS)
def test_a_sid_names_its_delivery(realm: str, message: UUID, who: dict[str, UUID], channel: str) -> None:
    """What was put in comes out, and the sid stands in a URL or a header as it is."""
    sid = sid_of(KEY, realm, message, channel=channel, **who)
    assert read_sid(KEY, sid) == Sid(realm, message, channel, **who)
    assert sid.replace("-", "").replace("_", "").isalnum()
    assert len(sid) <= SID_CHARS_MAX


@given(data=st.data(), message=st.uuids(), who=st.uuids())
def test_a_sid_that_was_touched_names_nothing(data: st.DataObject, message: UUID, who: UUID) -> None:
    """Any changed byte, whichever it is."""
    sid = sid_of(KEY, "main", message, channel="fcm", client=who)
    raw = bytearray(base64.urlsafe_b64decode(sid + "=" * (-len(sid) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert read_sid(KEY, base64.urlsafe_b64encode(bytes(raw)).decode()) is None


@given(st.text(max_size=700))
def test_whatever_is_no_sid_names_nothing(text: str) -> None:
    """Devices send back what they like: nothing of it raises."""
    assert read_sid(KEY, text) is None


def test_another_exchange_has_other_sids() -> None:
    """The key comes from the id key, so a sid of another exchange is none."""
    sid = sid_of(KEY, "main", UUID(int=1), channel="fcm", client=UUID(int=2))
    assert read_sid(sid_key(b"another id key for tests 32 bytes"), sid) is None


def test_the_key_is_that_of_rfc_5869() -> None:
    """Sids that are out there stay good: the derivation can't be changed."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"msgxc sid v1").derive(b"k" * 32)
    assert sid_key(b"k" * 32) == derived


def test_a_delivery_goes_to_somebody() -> None:
    """A client, a contact, or a contact's client."""
    with pytest.raises(ValueError, match="somebody"):
        sid_of(KEY, "main", UUID(int=1), channel="fcm")
