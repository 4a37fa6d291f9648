"""A request of device events, item by item: what can be read goes on in its order, what can't is kept with the reason.

A device joins all that it has gathered into one request, and drops all of it at one 4xx. So only what is no JSON object
is refused as a whole. Pure: knows no app, no client and no HTTP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.emarsys.device_events.cutting import TOO_DEEP, beginning_of, without_depths
from api.emarsys.mending import mended
from domain.devices.signal import CampaignView, DeviceEvent, Part, Refused
from domain.errors import Invalid
from domain.text.nesting import assert_shallow

NAME_MAX = 256
WORD_MAX = 1_024
"""Characters of a campaign, a button, a session, a tracking word."""
ATTRIBUTES_MAX = 256
"""Of one event."""
STATE_BYTES_MAX = 16_384
"""Of a deviceEventState: it comes with every request, and is kept for every client."""
KEPT_CHARS = 1_024
"""Of a refused item: enough to see what is wrong with it."""
REFUSED_MAX = 100
"""Of one request; a device that sends only rubbish shall not fill the stream with it."""
ITEM_BYTES_MIN = 50
"""An item's names and its time alone are longer. A request has room for a million that are shorter, seconds' work."""

CUSTOM, INTERNAL = "custom", "internal"
"""Types of events: who has named it, the app or the SDK."""
_TYPES = frozenset({CUSTOM, INTERNAL})

Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
Word = Annotated[str, Meta(max_length=WORD_MAX)]
When = Annotated[datetime, Meta(tz=True)]


class EventItem(msgspec.Struct, frozen=True, kw_only=True):
    """timestamp: by the device's clock, with a zone. trackingInfo, reporting: v5 alone."""

    type: str
    name: Name
    timestamp: When
    attributes: Annotated[dict[str, str], Meta(max_length=ATTRIBUTES_MAX)] | None = None
    session_id: Word | None = msgspec.field(name="sessionId", default=None)
    tracking_info: Word | None = msgspec.field(name="trackingInfo", default=None)
    reporting: Word | None = None

    def read(self) -> DeviceEvent:
        """Raises ValueError."""
        if self.type not in _TYPES:
            raise ValueError("type is custom or internal")
        return DeviceEvent(
            name=self.name,
            at=self.timestamp,
            internal=self.type == INTERNAL,
            attributes=self.attributes or {},
            session=self.session_id or "",
            tracking=self.tracking_info or "",
            reporting=self.reporting or "",
        )


class ClickItem(msgspec.Struct, frozen=True, kw_only=True):
    """A button of an in-app campaign."""

    campaign_id: Word = msgspec.field(name="campaignId")
    button_id: Word = msgspec.field(name="buttonId")
    timestamp: When

    def read(self) -> CampaignView:
        return CampaignView(campaign=self.campaign_id, at=self.timestamp, button=self.button_id)


class ViewItem(msgspec.Struct, frozen=True, kw_only=True):
    """An in-app campaign that was shown."""

    campaign_id: Word = msgspec.field(name="campaignId")
    timestamp: When

    def read(self) -> CampaignView:
        return CampaignView(campaign=self.campaign_id, at=self.timestamp)


class EventsBody(msgspec.Struct, frozen=True, kw_only=True):
    """As SDKs write it."""

    dnd: bool | None = None
    events: list[EventItem] = []
    clicks: list[ClickItem] = []
    viewed_messages: list[ViewItem] = msgspec.field(name="viewedMessages", default_factory=list)
    device_event_state: Any = msgspec.field(name="deviceEventState", default=None)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A request's items. state: the device's, None when it sent none that can be kept. internal: names of the events
    that the SDK has named.
    """

    dnd: bool = False
    events: tuple[DeviceEvent, ...] = ()
    clicks: tuple[CampaignView, ...] = ()
    viewed: tuple[CampaignView, ...] = ()
    refused: tuple[Refused, ...] = ()
    state: Any = None
    internal: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.events or self.clicks or self.viewed or self.refused or self.state is not None)

    @property
    def items(self) -> int:
        return len(self.events) + len(self.clicks) + len(self.viewed) + len(self.refused)


class _Loose(msgspec.Struct):
    dnd: Any = None
    events: msgspec.Raw = msgspec.Raw(b"[]")
    clicks: msgspec.Raw = msgspec.Raw(b"[]")
    viewed_messages: msgspec.Raw = msgspec.field(name="viewedMessages", default=msgspec.Raw(b"[]"))
    device_event_state: msgspec.Raw = msgspec.field(name="deviceEventState", default=msgspec.Raw(b"null"))


class _LooseInline(msgspec.Struct):
    view_ids: msgspec.Raw = msgspec.field(name="viewIds", default=msgspec.Raw(b"[]"))
    clicks: msgspec.Raw = msgspec.Raw(b"[]")


NO_OBJECT = "the body is not a JSON object of a sensible depth"
_decode_strict = msgspec.json.Decoder(EventsBody).decode
_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_inline = msgspec.json.Decoder(_LooseInline).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_event = msgspec.json.Decoder(EventItem).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_click = msgspec.json.Decoder(ClickItem).decode
_decode_view = msgspec.json.Decoder(ViewItem).decode


def read_batch(content: bytes) -> Batch:
    """Raises Invalid for what is no JSON object in UTF-8."""
    try:
        # All is good, as it nearly always is.
        body = _decode_strict(content or b"{}")
        state = body.device_event_state
        events = [each.read() for each in body.events]
        return Batch(
            dnd=body.dnd is True,
            events=tuple(events),
            clicks=tuple([each.read() for each in body.clicks]),
            viewed=tuple([each.read() for each in body.viewed_messages]),
            state=None if state is None else _state(state),
            internal=frozenset([event.name for event in events if event.internal]),
        )
    except (ValueError, RecursionError):
        return _item_by_item(content)


def _item_by_item(content: bytes) -> Batch:
    try:
        loose = _loosely(content, _decode_loose)
    except (ValueError, RecursionError):
        raise Invalid(NO_OBJECT, field="body") from None
    refused: list[Refused] = []
    events = tuple(_read("events", loose.events, _event_of, refused))
    clicks = tuple(_read("clicks", loose.clicks, _decode_click, refused))
    viewed = tuple(_read("viewedMessages", loose.viewed_messages, _decode_view, refused))
    state = None
    try:
        if beginning_of(bytes(loose.device_event_state)) is not None:
            raise ValueError(TOO_DEEP)
        state = _state(msgspec.json.decode(loose.device_event_state))
    except ValueError as error:
        refused.append(_refused("deviceEventState", 0, error, loose.device_event_state))
    return Batch(
        dnd=loose.dnd is True,
        events=events,
        clicks=clicks,
        viewed=viewed,
        refused=tuple(refused[:REFUSED_MAX]),
        state=state,
        internal=frozenset([event.name for event in events if event.internal]),
    )


class Inline(msgspec.Struct, frozen=True):
    """A call for in-line messages: its views, each once, its good clicks, and its bad ones."""

    views: list[str]
    clicks: tuple[CampaignView, ...]
    refused: tuple[Refused, ...]


def read_inline(content: bytes, *, views_max: int) -> Inline:
    """A view that has no name shows nothing, and is passed over. Raises Invalid for what is no JSON object."""
    try:
        loose = _loosely(content, _decode_inline)
    except (ValueError, RecursionError):
        raise Invalid(NO_OBJECT, field="body") from None
    refused: list[Refused] = []
    clicks = tuple(_read("clicks", loose.clicks, _decode_click, refused))
    views: dict[str, None] = {}
    with contextlib.suppress(ValueError):
        for view in _decode_items(loose.view_ids):
            with contextlib.suppress(ValueError):
                views[_decode_text(view)] = None
    return Inline([*views][:views_max], clicks, tuple(refused[:REFUSED_MAX]))


def read_list(content: bytes, decode: Any, *, most: int) -> tuple[list[Any], list[Refused]]:
    """A body that is a list of what counts as events: the good items of the first so many, and the others.

    Raises Invalid for what is no JSON list.
    """
    try:
        items = _loosely(content, _decode_items)
    except (ValueError, RecursionError):
        raise Invalid("the body is not a JSON list of a sensible depth", field="body") from None
    refused: list[Refused] = []
    good = list(_good("events", items[:most], decode, refused))
    for index, item in enumerate(items[most : most + REFUSED_MAX], most):
        refused.append(_refused("events", index, ValueError(f"at most {most} in one call"), item))
    return good, refused[:REFUSED_MAX]


def _loosely[T](content: bytes, decode: Callable[[bytes], T]) -> T:
    """Raises ValueError, RecursionError."""
    try:
        return decode(mended(content or b"{}"))
    except RecursionError:
        # Of one item, perhaps, among good ones.
        return decode(mended(without_depths(content)))


def _read(part: Part, raw: msgspec.Raw, decode: Any, refused: list[Refused]) -> Iterator[Any]:
    """The part's good items, in order; the others go to `refused`."""
    if bytes(raw) == b"null":
        return
    try:
        items = _decode_items(raw)
    except msgspec.ValidationError:
        refused.append(_refused(part, 0, ValueError("this is no list"), raw))
        return
    yield from _good(part, items, decode, refused)


def _good(part: Part, items: Iterable[msgspec.Raw], decode: Any, refused: list[Refused]) -> Iterator[Any]:
    for index, item in enumerate(items):
        is_full = len(refused) >= REFUSED_MAX
        if is_full and len(item) < ITEM_BYTES_MIN:
            continue
        try:
            yield decode(item).read()
        except (ValueError, RecursionError) as error:
            if not is_full:
                refused.append(_refused(part, index, error, item))


def _event_of(item: msgspec.Raw) -> EventItem:
    """Attributes are texts, but nobody holds a page to it: the web SDK sends what its `customEvent` was called with. As
    Android reads such a map (JsonUtils.toFlatMap, 3.11.0): a number is its digits, a list its JSON, null nothing.

    Raises ValueError, RecursionError.
    """
    try:
        return _decode_event(item)
    except msgspec.ValidationError:
        told = _with_texts(item)
        if told is None:
            raise
    return _decode_event(told)


def _with_texts(item: msgspec.Raw) -> bytes | None:
    """The event with its attributes as texts; None where that would not help."""
    try:
        event = _decode_object(item)
        attributes = _decode_object(event["attributes"])
    except (msgspec.ValidationError, KeyError):
        return None
    if len(attributes) > ATTRIBUTES_MAX or all(bytes(value)[:1] == b'"' for value in attributes.values()):
        return None
    texts = {name: _text_of(bytes(value)) for name, value in attributes.items() if bytes(value) != b"null"}
    event["attributes"] = msgspec.Raw(msgspec.json.encode(texts))
    return msgspec.json.encode(event)


def _text_of(value: bytes) -> str:
    return _decode_text(value) if value.startswith(b'"') else value.decode()


def _refused(part: Part, index: int, error: Exception, item: msgspec.Raw) -> Refused:
    cut = beginning_of(bytes(item))
    if cut is not None:
        return Refused(part=part, index=index, reason=TOO_DEEP, item=cut)
    text = bytes(item)[: KEPT_CHARS * 4].decode("utf-8", "replace")[:KEPT_CHARS]
    return Refused(part=part, index=index, reason=str(error) or TOO_DEEP, item=text)


def _state(value: Any) -> Any:
    """Raises ValueError for one that can't be kept."""
    if value is None:
        return None
    try:
        assert_shallow(value, field="deviceEventState")
    except Invalid as invalid:
        raise ValueError(invalid.detail) from None
    if len(msgspec.json.encode(value)) > STATE_BYTES_MAX:
        raise ValueError(f"at most {STATE_BYTES_MAX:,} bytes")
    return value
