"""A thread: its settings, its end, and who may do what."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import pytest

from domain.context import Caller
from domain.errors import Conflict
from domain.thread import Settings, Thread
from tests.unit.domain.story import at, given

ID = UUID(int=1)


def news(**settings: object) -> Thread:
    return Thread.open(
        id=ID,
        at=at(),
        tid="news",
        settings=Settings(owner="owner", admins=("admin",), publishers=("pub",), **settings),  # type: ignore[arg-type]
    )


def test_settings_change() -> None:
    """Other settings are an event, the same ones are not."""
    other = Settings(owner="owner", name="News")
    given(news()).when(lambda t: t.change(at=at(1), settings=other)).then(Thread.Changed, settings=other)
    same = news().settings
    given(news()).when(lambda t: t.change(at=at(1), settings=same)).then_nothing()


def test_a_closed_thread_stays_closed() -> None:
    """Closing happens once; a closed thread takes no other settings."""
    given(news()).when(lambda t: t.close(at=at(1))).then(Thread.Closed)
    closed = given(news()).and_then(lambda t: t.close(at=at(1)))
    closed.when(lambda t: t.close(at=at(2))).then_nothing()
    closed.when(lambda t: t.change(at=at(2), settings=Settings())).then_refused(Conflict)


def test_a_thread_without_channels_is_switched_off() -> None:
    """None means all channels, an empty tuple none."""
    assert news(channels=()).switched_off
    assert not news().switched_off
    assert not news(channels=("sms",)).switched_off


CALLERS = {
    "owner": Caller("owner"),
    "admin": Caller("admin"),
    "pub": Caller("pub"),
    "role": Caller("someone", roles=frozenset({"msgxc_admin"})),
    "service": Caller("robot", method="svc"),
    "other": Caller("someone"),
}


@pytest.mark.parametrize(
    ("who", "open_publish", "open_subscribe"), list(product(CALLERS, (False, True), (False, True)))
)
def test_who_may_do_what(who: str, open_publish: bool, open_subscribe: bool) -> None:
    """The contract's rights: owner and admins run it, publishers and services publish, open flags let others in."""
    thread = news(open_publish=open_publish, open_subscribe=open_subscribe)
    caller = CALLERS[who]
    runs = who in ("owner", "admin", "role")
    publishes = runs or who in ("pub", "service") or open_publish
    subscribes = runs or open_publish or open_subscribe
    assert thread.is_run_by(caller) == runs
    assert thread.may_publish(caller) == publishes
    assert thread.may_subscribe(caller) == subscribes
    assert thread.may_see(caller) == (publishes or subscribes)
    assert thread.may_see(caller, subscribed=True)
