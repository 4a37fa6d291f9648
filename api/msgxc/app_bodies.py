"""Settings of apps as operators write and read them.

Owns their strictness alone: a field that there is not is refused at every depth, since a setting that was misspelt
would be the default, without a word. What may be in them, domain.app_settings says; on the log and in documents of
other services whatever is more is passed over.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.msgxc.bodies import Body
from domain import app_settings
from domain.app_settings import EVENT_ACTIONS_MAX, FIELD_MAX, NAME_MAX, AppSettings, Kind
from domain.devices import event_action, geofence

SETTINGS_BYTES_MAX = 900_000
"""Of an app's settings as JSON: what fits into one event. A thousand geofences alone have some 300 kB."""

Code = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Unique in the whole exchange, in any case of its letters; it belongs to one realm for ever.",
    ),
]
FieldNumber = Annotated[int, Meta(ge=1, le=FIELD_MAX, description="The number of a contact field.")]


class OpenIdIssuerBody(app_settings.OpenIdIssuer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = app_settings.OpenIdIssuer.__doc__


class RateLimitsBody(app_settings.RateLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = app_settings.RateLimits.__doc__


class PushSettingsBody(app_settings.PushSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = app_settings.PushSettings.__doc__


class EventActionBody(event_action.EventAction, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = event_action.EventAction.__doc__


class TriggerBody(geofence.Trigger, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = geofence.Trigger.__doc__


class GeofenceBody(geofence.Geofence, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = geofence.Geofence.__doc__
    triggers: tuple[TriggerBody, ...]


class GroupBody(geofence.Group, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = geofence.Group.__doc__
    geofences: tuple[GeofenceBody, ...]


class GeofencesBody(geofence.Geofences, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = geofence.Geofences.__doc__
    groups: tuple[GroupBody, ...] = ()


class AppBody(Body, frozen=True, kw_only=True):
    """All of an app's settings: what is left out gets its default.

    openid: whose id tokens are good, and verified. open_id_trusted: where none is named, all are believed, for trials.
    default_contact_field: names a v4 client's contacts. contact_field_*: fields of the suite that are kept up to date.
    The last three are of web domains.
    """

    name: Annotated[str, Meta(max_length=NAME_MAX)] = ""
    kind: Kind = "app"
    anonymous_allowed: bool = True
    default_contact_field: FieldNumber | None = None
    openid: OpenIdIssuerBody | None = None
    open_id_trusted: bool = False
    contact_field_app_installed: FieldNumber | None = None
    contact_field_push_accepted: FieldNumber | None = None
    contact_field_last_mobile_activity: FieldNumber | None = None
    geofences: GeofencesBody = GeofencesBody()
    rate_limits: RateLimitsBody = RateLimitsBody()
    push: PushSettingsBody = PushSettingsBody()
    event_actions: Annotated[tuple[EventActionBody, ...], Meta(max_length=EVENT_ACTIONS_MAX)] = ()
    is_push_feature_enabled: bool = True
    uses_external_push_domain: bool = False
    external_push_domain: Annotated[str, Meta(max_length=253)] = ""

    def settings(self, merchant: str) -> AppSettings:
        own = {name: getattr(self, name) for name in AppBody.__struct_fields__}
        return msgspec.convert({**own, "merchant": merchant}, AppSettings, from_attributes=True)


class NewAppBody(AppBody, frozen=True, kw_only=True):
    code: Code


class PutAppBody(AppBody, frozen=True, kw_only=True):
    """What is shown may be sent back: the last five are taken, without effect."""

    code: Any = None
    merchant: Any = None
    registered: Any = None
    changed: Any = None
    retired: Any = None


class AppView(AppBody, frozen=True, kw_only=True):
    """merchant: the realm. retired: since when there is no such app for devices; null as long as there is."""

    code: str
    merchant: str
    registered: datetime | None
    changed: datetime | None
    retired: datetime | None
