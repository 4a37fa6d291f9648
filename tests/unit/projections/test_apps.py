"""Apps as rows: the same whatever order their events come in, and how often."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from domain.aggregate import Event
from domain.app import App
from domain.app_settings import AppSettings
from domain.ids import Ids
from domain.recorded import Recorded
from projections import apps
from projections.apps import Apps
from projections.port import Row
from tests.memory.clock import START
from tests.memory.ports.read_models import MemoryReadModels
from tests.unit.projections.histories import fact_of

REALM = "main"
IDS = Ids(b"an id key for tests, of 32 bytes")
CODES = ("Alpha", "beta", "GAMMA")
STEPS = st.lists(
    st.tuples(st.sampled_from(CODES), st.sampled_from(("register", "change", "retire"))), max_size=25
)


class Story:
    """Apps, and the facts of what happened to them."""

    def __init__(self, steps: list[tuple[str, str]]) -> None:
        self.apps: dict[str, App] = {}
        self.facts: list[Recorded] = []
        for number, (code, step) in enumerate(steps):
            self._take(code, step, AppSettings(merchant=REALM, name=str(number)))

    def _take(self, code: str, step: str, settings: AppSettings) -> None:
        app = self.apps.get(code)
        if app is None:
            app = self.apps[code] = App.register(id=IDS.app(code), at=START, code=code, settings=settings)
        elif step == "retire":
            app.retire(at=START)
        elif not app.retired:
            app.change(at=START, settings=settings)
        for event in app.collect_events():
            self.facts.append(fact_of(cast("Event", event), len(self.facts) + 1))


async def rows_of(facts: list[Recorded]) -> list[Row]:
    models = MemoryReadModels()
    generation = models.generation("apps")
    for fact in facts:
        await generation.apply(list(Apps().project(fact)), [])
    assert await Apps().check(generation) == []
    rows, after = await apps.listed(models, REALM, retired=True, cursor=None, limit=100)
    assert after is None
    return rows


@given(STEPS, st.data())
async def test_order_and_repetition_make_no_difference(
    steps: list[tuple[str, str]], data: st.DataObject
) -> None:
    """What is shown is what the apps themselves say, by code."""
    story = Story(steps)
    shuffled = data.draw(st.permutations(story.facts * 2))
    rows = await rows_of(shuffled)
    assert rows == await rows_of(story.facts)
    shown = [(row["code"], apps.settings_of(row), row["retired"] is not None) for row in rows]
    said = sorted(story.apps.values(), key=lambda app: app.code.casefold())
    assert shown == [(app.code, app.settings, app.retired) for app in said]


async def test_another_realm_has_none_of_them() -> None:
    """By neither way of looking."""
    story = Story([("Alpha", "register")])
    models = MemoryReadModels()
    await models.generation("apps").apply(list(Apps().project(story.facts[0])), [])
    assert await apps.find(models, "other", "Alpha") is None
    assert await apps.listed(models, "other", retired=True, cursor=None, limit=10) == ([], None)
    found = await apps.find(models, REALM, "ALPHA")
    assert found is not None
    assert found["code"] == "Alpha"
