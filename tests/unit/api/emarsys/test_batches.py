"""Device events, read item by item: nothing good is ever lost to something bad beside it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.emarsys.device_events.batches import REFUSED_MAX, STATE_BYTES_MAX, read_batch
from domain.errors import Invalid

AT = "2026-01-02T03:04:05.678Z"
NAMES = st.text(min_size=1, max_size=20)
WORDS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def event(name: str = "opened", **more: Any) -> dict[str, Any]:
    return {"type": "custom", "name": name, "timestamp": AT, **more}


good_events = st.builds(
    lambda name, attributes, internal, session: event(
        name,
        attributes=attributes,
        type="internal" if internal else "custom",
        **({"sessionId": session} if session else {}),
    ),
    NAMES,
    st.dictionaries(WORDS, WORDS, max_size=3),
    st.booleans(),
    WORDS,
)
bad_events = st.one_of(
    JSON.filter(lambda value: not isinstance(value, dict)),
    good_events.map(lambda each: {**each, "timestamp": "yesterday"}),
    good_events.map(lambda each: {**each, "timestamp": "2026-01-02T03:04:05"}),
    good_events.map(lambda each: {**each, "name": ""}),
    good_events.map(lambda each: {**each, "name": 5}),
    good_events.map(lambda each: {**each, "type": "other"}),
    good_events.map(lambda each: {**each, "attributes": ["a", "b"]}),
    good_events.map(lambda each: {key: value for key, value in each.items() if key != "timestamp"}),
)


UNSAID = st.fixed_dictionaries(
    {}, optional={name: st.none() | WORDS for name in ("sessionId", "trackingInfo", "reporting")}
)


@given(st.lists(st.builds(dict.__or__, good_events, UNSAID), max_size=5))
def test_an_event_is_the_same_whatever_came_with_it(items: list[Any]) -> None:
    """One bad item has all of them read one by one."""
    good, mixed = (read_batch(json.dumps({"events": each}).encode()) for each in (items, [*items, 5]))
    assert (good.events, good.internal) == (mixed.events, mixed.internal)
    assert (len(good.refused), len(mixed.refused)) == (0, 1)


@given(st.lists(st.tuples(st.booleans(), good_events, bad_events), max_size=30))
def test_the_good_are_kept_in_order_and_the_bad_with_their_reason(
    drawn: list[tuple[bool, dict[str, Any], Any]],
) -> None:
    """Whatever the mixture: each item is in one of the two, where it belongs."""
    items = [good if is_good else bad for is_good, good, bad in drawn]
    batch = read_batch(json.dumps({"events": items}).encode())
    expected = [good for is_good, good, _ in drawn if is_good]
    assert [each.name for each in batch.events] == [each["name"] for each in expected]
    assert [each.attributes for each in batch.events] == [each["attributes"] for each in expected]
    assert [each.internal for each in batch.events] == [each["type"] == "internal" for each in expected]
    assert [each.index for each in batch.refused] == [
        index for index, (is_good, _, _) in enumerate(drawn) if not is_good
    ]
    assert all(each.reason and each.part == "events" for each in batch.refused)


@settings(max_examples=50)
@given(JSON, JSON, JSON, JSON)
def test_a_part_that_is_no_list_spoils_no_other(events: Any, clicks: Any, viewed: Any, state: Any) -> None:
    """Any JSON in any part, beside one good click."""
    good = {"campaignId": "c", "buttonId": "b", "timestamp": AT}
    clicks = [clicks, good]
    body = {"events": events, "clicks": clicks, "viewedMessages": viewed, "deviceEventState": state}
    batch = read_batch(json.dumps(body).encode())
    assert [(each.campaign, each.button) for each in batch.clicks] == [("c", "b")]
    assert batch.state == state


@given(st.dictionaries(WORDS, JSON, max_size=5))
def test_attributes_that_are_no_texts_cost_no_event(attributes: dict[str, Any]) -> None:
    """The web SDK (2.6, me-web-push.js, customEvent) sends what a page gives it; each is read as Android reads such a
    map (JsonUtils.toFlatMap at 3.11.0).
    """
    [read] = read_batch(json.dumps({"events": [event(attributes=attributes)]}).encode()).events
    said = {name: value for name, value in attributes.items() if value is not None}
    assert read.attributes == {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()
    }


def test_a_number_is_the_digits_that_were_sent() -> None:
    """No other number's, and no exponent's."""
    sent = b'{"events":[{"type":"custom","name":"bought","timestamp":"%b","attributes":' % AT.encode()
    batch = read_batch(sent + b'{"price":12.50,"is_new":true,"gift":null,"me:origin":"webpush"}}]}')
    assert batch.events[0].attributes == {"price": "12.50", "is_new": "true", "me:origin": "webpush"}
    assert not batch.refused


@given(st.binary(max_size=200))
def test_what_is_no_json_object_is_refused_as_a_whole(content: bytes) -> None:
    """Raises Invalid and nothing else."""
    try:
        value = json.loads(content.decode("utf-8", "replace") or "{}")
    except ValueError:
        value = None
    if isinstance(value, dict):
        read_batch(content)
    else:
        with pytest.raises(Invalid):
            read_batch(content)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"events":' + b"[" * 100_000])
def test_a_bottomless_body_is_refused(content: bytes) -> None:
    """It is no JSON anybody could read to its end."""
    with pytest.raises(Invalid):
        read_batch(content)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5_000, "NaN", "-Infinity"])
def test_a_number_that_nobody_can_hold_costs_no_event(number: str) -> None:
    """Wherever it is, in an event or in the device's own state."""
    value = json.dumps(event("bad", attributes={"x": "#"})).replace('"#"', number)
    batch = read_batch(f'{{"events":[{json.dumps(event())},{value}]}}'.encode())
    assert batch.events[0].name == "opened"
    batch = read_batch(f'{{"events":[{json.dumps(event())}],"deviceEventState":[{number}]}}'.encode())
    assert [each.name for each in batch.events] == ["opened"]


@pytest.mark.parametrize("word", [b'"half \\ud83d"', b'"half \xf0\x9f"', b'"\\udc00\\ud83d!"'])
def test_half_a_character_costs_no_event(word: bytes) -> None:
    """Apps cut texts in the middle of an emoji, and JSON.stringify writes what is left as it is."""
    content = json.dumps({"events": [event("a"), event("b", attributes={"word": "WORD"})]}).encode()
    batch = read_batch(content.replace(b'"WORD"', word))
    assert [each.name for each in batch.events] == ["a", "b"]
    batch.events[1].attributes["word"].encode()


@pytest.mark.parametrize("depth", [70, 900, 3_000, 50_000])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"[\\"{":', "}")])
@pytest.mark.parametrize("spoilt", [b"", b"\\ud83d"])
def test_a_deep_item_is_refused_alone(depth: int, opened: str, closed: str, spoilt: bytes) -> None:
    """Its neighbours are kept, and its beginning, however deep it is, and whatever else is wrong with the request."""
    a, b = json.dumps(event("a")), json.dumps(event("b", attributes={"]}": '"[{\\'}))
    deep = f'{{"type":"custom","name":"SPOILT","more":{opened * depth}1{closed * depth}}}'
    content = f'{{"clicks":[],"events":[{a},{deep},{b}],"more":[[]]}}'.encode().replace(b"SPOILT", spoilt)
    batch = read_batch(content)
    assert [(each.name, each.attributes) for each in batch.events] == [("a", {}), ("b", {"]}": '"[{\\'})]
    [refused] = batch.refused
    assert (refused.part, refused.index) == ("events", 1)
    assert refused.item.startswith('{"type":')
    if depth >= 3_000:
        assert refused.reason == "nested too deep"


@pytest.mark.parametrize("part", ["clicks", "deviceEventState", "more"])
def test_a_deep_part_spoils_no_other(part: str) -> None:
    """One that is no list is refused as a whole, one that nobody knows is passed over, and no state is made of it."""
    deep = '{"a":' * 3_000 + "1" + "}" * 3_000
    batch = read_batch(f'{{"{part}":{deep},"events":[{json.dumps(event("a"))}]}}'.encode())
    assert [each.name for each in batch.events] == ["a"]
    assert [each.part for each in batch.refused] == [each for each in (part,) if each != "more"]
    assert (batch.state, batch.clicks) == (None, ())


def test_brackets_without_end_take_no_time() -> None:
    """One deep item, and then more brackets and texts than any request has: nothing of it is looked at twice."""
    deep = b"[" * 3_000 + b"]" * 3_000
    for rest in (b"[],{}," * 300_000, b'"\\"' * 600_000, b'"\\"' * 600_000 + b"\\", b'"",' * 600_000):
        with pytest.raises(Invalid):
            read_batch(b'{"events":[' + deep + b"," + rest)


def test_a_state_that_is_too_large_is_refused_alone() -> None:
    """It comes back with every request: what is too large for that is not kept."""
    body = {"events": [event()], "deviceEventState": {"a": "x" * STATE_BYTES_MAX}}
    batch = read_batch(json.dumps(body).encode())
    assert len(batch.events) == 1
    assert batch.state is None
    assert [each.part for each in batch.refused] == ["deviceEventState"]


def test_a_request_of_rubbish_does_not_fill_the_stream() -> None:
    """The first of the refused stand for all."""
    batch = read_batch(json.dumps({"events": [{}] * 1_000 + [event()]}).encode())
    assert len(batch.refused) == REFUSED_MAX
    assert len(batch.events) == 1


@pytest.mark.parametrize("item", [b"1", b'""'])
def test_a_million_bad_items_take_hardly_longer_than_to_be_told_apart(item: bytes) -> None:
    """Nobody else is served meanwhile: what cannot be good is not looked at, and what can be is found among it."""
    items = b"[" + b",".join([item] * ((2 << 20) // (len(item) + 1)) + [json.dumps(event()).encode()]) + b"]"
    began_s = time.process_time()
    json.loads(items)
    plain_s = time.process_time() - began_s
    batch = read_batch(b'{"events":%b,"clicks":%b}' % (items, items))
    assert time.process_time() - began_s < plain_s * 40 + 0.2
    assert ([each.name for each in batch.events], len(batch.refused)) == (["opened"], REFUSED_MAX)


def test_an_event_of_v5_has_its_tracking() -> None:
    """As engagement-cloud-sdk 4.0 writes it (DeviceEvent.kt)."""
    body = {"dnd": True, "events": [event(trackingInfo="t", reporting="r")], "deviceEventState": "opaque"}
    batch = read_batch(json.dumps(body).encode())
    assert (batch.events[0].tracking, batch.events[0].reporting) == ("t", "r")
    assert (batch.dnd, batch.state) == (True, "opaque")
