"""An app: its code, its realm, its end."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.app import App, is_code
from domain.app_settings import AppSettings, PushSettings
from domain.errors import Conflict, Invalid
from tests.unit.domain.story import at, given

ID = UUID(int=1)
ACME = AppSettings(merchant="acme", name="Shop")


KINDS, STYLES = ("app", "web-domain"), (None, "emarsys-v3", "emarsys-v4", "msgxc", "doppler")


def shop(settings: AppSettings = ACME) -> App:
    return App.register(id=ID, at=at(), code="SHOP", settings=settings)


def test_settings_change() -> None:
    """Other settings are an event, the same ones are not."""
    other = AppSettings(merchant="acme", name="Our shop", anonymous_allowed=False)
    given(shop()).when(lambda app: app.change(at=at(1), settings=other)).then(
        App.Changed, code="SHOP", settings=other
    )
    given(shop()).when(lambda app: app.change(at=at(1), settings=ACME)).then_nothing()


def test_an_app_never_changes_its_realm() -> None:
    """Clients, contacts and tokens of one merchant would become another's."""
    elsewhere = AppSettings(merchant="other")
    given(shop()).when(lambda app: app.change(at=at(1), settings=elsewhere)).then_refused(Conflict)


def test_a_retired_app_stays_so() -> None:
    """Retiring happens once; then there are no facts of it, and it takes no settings."""
    given(shop()).when(lambda app: app.retire(at=at(1))).then(App.Retired, code="SHOP")
    retired = given(shop()).and_then(lambda app: app.retire(at=at(1)))
    retired.when(lambda app: app.retire(at=at(2))).then_nothing()
    retired.when(lambda app: app.change(at=at(2), settings=ACME)).then_refused(Conflict)
    assert retired.aggregate.facts is None


def test_facts_say_who_the_merchant_is() -> None:
    """What those who serve it need: id, code, settings, realm."""
    facts = shop().facts
    assert facts is not None
    assert (facts.id, facts.code, facts.realm, facts.settings) == (ID, "SHOP", "acme", ACME)


@pytest.mark.parametrize("code", ["EMS11-C3FD3", "a", "0", "x" * 64, "shop.example.org", "A_b-c.D"])
def test_codes_that_can_be(code: str) -> None:
    """Emarsys' own, and host names."""
    assert is_code(code)


@pytest.mark.parametrize("code", ["", "-a", ".a", "_a", "a/b", "a b", "x" * 65, "käse", "a\n", "a*", "a>"])
def test_codes_that_cannot_be(code: str) -> None:
    """They stand in paths: nothing that has to be escaped, and nothing that looks like a subject's wildcard."""
    assert not is_code(code)
    with pytest.raises(Invalid) as refused:
        App.register(id=ID, at=at(), code=code, settings=ACME)
    assert refused.value.field == "code"


@for_all(
    st.sampled_from(KINDS),
    st.sampled_from(STYLES),
)
def test_the_push_style_follows_from_the_kind_unless_it_is_said(kind: str, style: str | None) -> None:
    """An app's devices have Emarsys' SDK, a web domain's browsers doppler's script."""
    push = msgspec.convert({"style": style}, PushSettings)
    settings = msgspec.structs.replace(ACME, kind=kind, push=push)
    assert settings.push_style == (style or {"app": "emarsys-v3", "web-domain": "doppler"}[kind])
