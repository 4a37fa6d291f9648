"""Application metadata from a service: `GET /apps/{code}`, in the form that our own admin API answers."""

from __future__ import annotations

from datetime import datetime

from domain.app import AppFacts, is_code
from domain.app_settings import AppSettings
from domain.errors import Invalid
from domain.ids import Ids
from infra.emarsys_http.service import Absent, Denied, Service
from processes.directories import Unreadable


class _Document(AppSettings, frozen=True, kw_only=True):
    """retired: whether, or since when."""

    code: str
    retired: bool | datetime | None = None


class HttpApps:
    """processes.directories.AppMetadata."""

    def __init__(self, service: Service, ids: Ids) -> None:
        self._service, self._ids = service, ids

    async def app(self, code: str) -> AppFacts | None:
        if not is_code(code):
            return None
        found = await self._service.get(f"/apps/{code}", _Document)
        if isinstance(found, Absent | Denied) or found.retired:
            return None
        settings = AppSettings(**{name: getattr(found, name) for name in AppSettings.__struct_fields__})
        self._assert_sound(code, found.code, settings)
        return AppFacts(self._ids.app(code), found.code, settings)

    def _assert_sound(self, asked: str, code: str, settings: AppSettings) -> None:
        if code.casefold() != asked.casefold():
            raise Unreadable(f"{self._service.name} answered for another app")
        try:
            # A fault in an action is no reason to do without the app.
            settings.assert_sound()
        except Invalid as wrong:
            raise Unreadable(
                f"{self._service.name} has settings that cannot be: {wrong.field}: {wrong.detail}"
            ) from wrong
