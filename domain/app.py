"""An app: an application or a web domain that clients belong to and messages are sent for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent
from domain.app_settings import AppSettings
from domain.errors import Conflict, Invalid

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_code(text: str) -> bool:
    """Whether an app can have this code."""
    return _CODE.fullmatch(text) is not None


def assert_code(code: str, *, field: str = "code") -> None:
    """Raises Invalid for what no app can be named."""
    if not is_code(code):
        raise Invalid(
            "a code has 1 to 64 letters, digits and . _ -, the first a letter or digit", field=field
        )


class AppFacts(msgspec.Struct, frozen=True):
    """An app as those who serve and send for it see it. code: as it was registered; its letters' case is nothing."""

    id: UUID
    code: str
    settings: AppSettings

    @property
    def realm(self) -> str:
        """Its merchant."""
        return self.settings.merchant


class App(Aggregate):
    """code: what paths name it by, unique in the whole exchange. It belongs to one realm for ever."""

    TOPIC = "app"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Registered(Event, Created):
        TOPIC = "app.registered.v2"
        code: str
        settings: AppSettings

    @dataclass(frozen=True, kw_only=True)
    class Changed(Event):
        TOPIC = "app.changed.v2"
        code: str
        settings: AppSettings

        def apply(self, aggregate: App) -> None:
            aggregate.settings = self.settings

    @dataclass(frozen=True, kw_only=True)
    class Retired(Event):
        """For good: its clients are told that there is no such app."""

        TOPIC = "app.retired.v1"
        code: str

        def apply(self, aggregate: App) -> None:
            aggregate.retired = True

    def __init__(self, code: str, settings: AppSettings) -> None:
        self.code, self.settings, self.retired = code, settings, False

    @classmethod
    def register(cls, *, id: UUID, at: datetime, code: str, settings: AppSettings) -> App:
        assert_code(code)
        settings.assert_valid()
        app: App = cls._open(cls.Registered, id=id, at=at, code=code, settings=settings)
        return app

    def change(self, *, at: datetime, settings: AppSettings) -> None:
        if self.retired:
            raise Conflict("the app is retired for good; use another code", field="code")
        if settings.merchant != self.settings.merchant:
            raise Conflict("the app belongs to another realm, for ever", field="code")
        settings.assert_valid()
        if settings != self.settings:
            self.trigger_event(self.Changed, timestamp=at, code=self.code, settings=settings)

    def retire(self, *, at: datetime) -> None:
        if not self.retired:
            self.trigger_event(self.Retired, timestamp=at, code=self.code)

    @property
    def facts(self) -> AppFacts | None:
        """None once retired."""
        return None if self.retired else AppFacts(self.id, self.code, self.settings)
