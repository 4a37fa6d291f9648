"""Facts on their way out: personal fields hidden unless asked for, forms that others can read."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec.structs import replace

from cli.reading.facts import cloud_event, line, shown
from domain.client import Client
from domain.contact import Contact
from domain.deliveries.delivery import Dispatch
from domain.devices.signal import DeviceEvent, DeviceEvents, Refused
from domain.recorded import DELIVERY, EVENTS, SIGNALS, Recorded
from processes.port import Poison

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ID = UUID("00112233-4455-8677-8899-aabbccddeeff")
PHONE = "+34600000000"


def _fact() -> Recorded:
    contact = Contact.create(id=ID, at=AT, uid="ann")
    contact.set_address(at=AT, channel="sms", address=PHONE, token=ID)
    event = contact.collect_events()[-1]
    return Recorded(
        stream=EVENTS,
        position=2,
        subject=f"evt.contact.00.{ID.hex}",
        topic="contact.address-set.v1",
        realm="main",
        actor="ann",
        correlation="r-1",
        at=AT,
        body=event,  # type: ignore[arg-type]
    )


def test_what_is_personal_is_hidden() -> None:
    """An address shows as hidden in every form, and whole only when asked for."""
    hidden = shown(_fact(), personal=False)
    assert hidden["data"] == {"channel": "sms", "address": "(hidden)", "token": str(ID)}
    assert PHONE not in line(hidden)
    assert PHONE not in str(cloud_event(hidden, "e1"))
    assert shown(_fact(), personal=True)["data"]["address"] == PHONE


def test_an_absent_value_is_not_called_hidden() -> None:
    """A destroyed address reads as nothing: there is nothing to hide."""
    nothing = dict.fromkeys(("contact", "uid", "channel", "address", "token"))
    client = Client.register(id=ID, at=AT, app="a", client_id="c", properties={}, **nothing)
    fact = Recorded(
        stream=EVENTS, position=1, subject="evt.client.00.x", topic="client.registered.v1", realm="main", at=AT,
        body=client.collect_events()[0],  # type: ignore[arg-type]
    )  # fmt: skip
    assert shown(fact, personal=False)["data"]["address"] is None


def test_what_an_app_says_in_its_events_is_hidden_and_that_it_happened_is_not() -> None:
    """Attributes are the app's words, and may be about people; refused items are anything at all."""
    batch = DeviceEvents(
        client=ID,
        events=(DeviceEvent(name="bought", at=AT, attributes={"email": PHONE}),),
        refused=(Refused(part="events", index=0, reason="no name", item=PHONE),),
        state={"kept": PHONE},
    )
    fact = replace(_fact(), stream=SIGNALS, topic="device-events.v1", body=batch)
    hidden = shown(fact, personal=False)
    assert PHONE not in line(hidden) + str(hidden)
    assert hidden["data"]["events"][0]["name"] == "bought"
    assert shown(fact, personal=True)["data"]["events"][0]["attributes"] == {"email": PHONE}


def test_a_dispatch_never_shows_what_it_seals() -> None:
    """Addresses under the key of the day stay sealed, asked for or not."""
    dispatch = Dispatch(
        realm="main", message=ID, channel="sms", lane="live", page="0", attempt=1, tid=None, sender="ann", urgency=3,
        accepted_at=AT, expires_at=AT, recipients=(), key="day.2026-01-02", sealed=b"secret",
    )  # fmt: skip
    fact = Recorded(
        stream=DELIVERY,
        position=1,
        subject=dispatch.subject,
        topic="dispatch.v1",
        realm="main",
        at=AT,
        body=dispatch,
    )
    assert shown(fact, personal=True)["data"]["sealed"] == "(hidden)"


def test_a_cloud_event_is_one() -> None:
    """Required attributes of CloudEvents 1.0, an id that no other fact has, and the order as an extension."""
    event = cloud_event(shown(_fact(), personal=False), "e1")
    assert event["specversion"] == "1.0"
    assert event["id"] == "e1:EVENTS:2"
    assert (event["source"], event["type"]) == ("/msgxc/main", "contact.address-set.v1")
    assert (event["time"], event["sequence"]) == ("2026-01-02T03:04:05.678Z", "00000000000000000002")
    assert all(name.isalnum() and name.islower() for name in event)


def test_what_cannot_be_read_is_shown_as_that() -> None:
    """Poison has its place and its reason."""
    told = shown(Poison(EVENTS, 7, "evt.x", "no JSON"), personal=False)
    assert line(told).split() == ["EVENTS:7", "evt.x", "unreadable:", "no", "JSON"]


@pytest.mark.parametrize(
    "subject",
    [
        f"evt.contact.00.{ID.hex}",
        f"audience.{ID.hex}.0",
        f"dispatch.sms.live.{ID.hex}.0.1",
        f"outcome.sms.{ID.hex}-0-1",
    ],
)
def test_a_line_names_the_id_it_is_about(subject: str) -> None:
    """A page, a dispatch and an outcome by their message, so that `events show` can be asked for it."""
    told = {**shown(_fact(), personal=False), "subject": subject}
    assert line(told).split()[3] == ID.hex
