"""What a suite is told of a contact's use of an app: pure rules, for the fields that the app's settings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.app_settings import AppSettings

FieldValue = bool | str
"""A flag, or a time in ISO 8601."""


def accepts_push(*, has_address: bool, properties: Mapping[str, Any]) -> bool:
    """Whether pushes show on a device: it has an address, and its system does not say that its user forbids them."""
    settings = properties.get("pushSettings")
    if not has_address or not isinstance(settings, Mapping):
        return has_address
    return settings.get("areNotificationsEnabled") is not False and (
        settings.get("authorizationStatus") != "denied"
    )


def suite_fields(
    settings: AppSettings, accepting: Sequence[bool], active_at: datetime | None
) -> dict[int, FieldValue]:
    """Values by field number. accepting: for each device of the contact with the app, whether it accepts pushes.

    active_at: when the contact last used the app, None if that is not what has changed.
    """
    values: dict[int, FieldValue] = {}
    if settings.contact_field_app_installed is not None:
        values[settings.contact_field_app_installed] = bool(accepting)
    if settings.contact_field_push_accepted is not None:
        values[settings.contact_field_push_accepted] = any(accepting)
    if settings.contact_field_last_mobile_activity is not None and active_at is not None:
        values[settings.contact_field_last_mobile_activity] = active_at.isoformat(timespec="milliseconds")
    return values
