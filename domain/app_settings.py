"""What the owner of an app or a web domain decides about it.

Owns the settings' form on the log, and what may be in them. Types hold for what is read; `assert_valid` for what
is written, so that a bound that is narrowed later never makes an old event unreadable.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from domain.devices.event_action import EventAction, assert_carried_out
from domain.devices.geofence import Geofences
from domain.errors import Invalid

NAME_MAX = 256
FIELD_MAX = 2**31 - 1
"""Numbers of contact fields: suites keep them as 32-bit integers."""
RATE_MAX = 100_000_000
"""A minute."""
EVENT_ACTIONS_MAX = 200

EMARSYS_V3, EMARSYS_V4, MSGXC, DOPPLER = "emarsys-v3", "emarsys-v4", "msgxc", "doppler"
PushStyle = Literal["emarsys-v3", "emarsys-v4", "msgxc", "doppler"]
"""The form of push payloads: whose SDK is to read them."""
Kind = Literal["app", "web-domain"]

URL_MAX = 512
AUDIENCES_MAX = 20

_HTTPS = re.compile(r"https://[!-~]+")
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}")
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Calls a minute: of one client, of the whole app, from one address. The address's is wide: offices share one."""

    client_per_minute: int = 120
    app_per_minute: int = 600_000
    address_per_minute: int = 6_000


class PushSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """style None: by the app's kind. apns_topic None: the exchange's own (an app's bundle id).

    android_payload: of the style emarsys-v3; every SDK of that generation reads v1, and from 3.7.0 on also v2.
    """

    style: PushStyle | None = None
    apns_topic: str | None = None
    android_payload: Literal["v1", "v2"] = "v1"


class OpenIdIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose id tokens name an app's contacts. audiences: what they are issued for (`aud`), one of them at least.

    jwks_url: where the issuer's keys are.
    """

    issuer: str
    audiences: tuple[str, ...]
    jwks_url: str

    def assert_valid(self) -> None:
        """Raises Invalid, naming the field."""
        if not 1 <= len(self.issuer) <= URL_MAX or not self.issuer.isprintable():
            raise Invalid("the tokens' claim `iss`, as the issuer writes it", field="openid.issuer")
        if not 1 <= len(self.audiences) <= AUDIENCES_MAX or not all(self.audiences):
            raise Invalid(
                f"1 to {AUDIENCES_MAX}: without one, tokens for anybody would do", field="openid.audiences"
            )
        if not _HTTPS.fullmatch(self.jwks_url) or len(self.jwks_url) > URL_MAX:
            raise Invalid("an https:// address", field="openid.jwks_url")


class AppSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """merchant: the realm that the app belongs to, for ever.

    default_contact_field: the one that a v4 client's contacts are named by; it cannot say so itself.
    openid: whose id tokens are good, and verified. open_id_trusted: where no such issuer is named, id tokens are read
    and believed, whoever has made them: for trials.
    contact_field_*: fields of the suite that are kept up to date for the app's contacts; None: none is.
    is_push_feature_enabled, *_external_push_domain: a web domain's, as doppler has them.
    """

    merchant: str
    name: str = ""
    kind: Kind = "app"
    anonymous_allowed: bool = True
    default_contact_field: int | None = None
    openid: OpenIdIssuer | None = None
    open_id_trusted: bool = False
    contact_field_app_installed: int | None = None
    contact_field_push_accepted: int | None = None
    contact_field_last_mobile_activity: int | None = None
    geofences: Geofences = Geofences()
    rate_limits: RateLimits = RateLimits()
    push: PushSettings = PushSettings()
    event_actions: tuple[EventAction, ...] = ()
    is_push_feature_enabled: bool = True
    uses_external_push_domain: bool = False
    external_push_domain: str = ""

    @property
    def push_style(self) -> PushStyle:
        if self.push.style is not None:
            return self.push.style
        return "doppler" if self.kind == "web-domain" else "emarsys-v3"

    @property
    def may_push(self) -> bool:
        """Whether messages may go out in its name. Only web domains can be switched off."""
        return self.kind != "web-domain" or self.is_push_feature_enabled

    @property
    def updates_suite(self) -> bool:
        """Whether the suite wants to know of the app's contacts."""
        return bool(
            self.contact_field_app_installed
            or self.contact_field_push_accepted
            or self.contact_field_last_mobile_activity
        )

    def assert_valid(self) -> None:
        """Raises Invalid, naming the field."""
        self.assert_sound()
        for action, field in self.geofences.actions("geofences"):
            assert_carried_out(action, field)
        self._assert_event_actions()

    def assert_sound(self) -> None:
        """The same, but for actions: whoever is to carry out one that cannot be passes over that one alone."""
        if len(self.name) > NAME_MAX or not self.name.isprintable():
            raise Invalid(f"at most {NAME_MAX} printable characters", field="name")
        self._assert_contact_fields()
        if self.openid is not None:
            self.openid.assert_valid()
            if self.open_id_trusted:
                raise Invalid("whose id tokens are good is said by openid", field="open_id_trusted")
        self._assert_rates()
        self.geofences.assert_valid(field="geofences")
        if self.push.apns_topic is not None and not _TOPIC.fullmatch(self.push.apns_topic):
            raise Invalid("an app's bundle id, such as org.example.app", field="push.apns_topic")
        self._assert_push_domain()

    def _assert_contact_fields(self) -> None:
        for field in _CONTACT_FIELDS:
            number = getattr(self, field)
            if number is not None and not 1 <= number <= FIELD_MAX:
                raise Invalid(f"a field's number is 1 to {FIELD_MAX}", field=field)

    def _assert_rates(self) -> None:
        for name in self.rate_limits.__struct_fields__:
            if not 1 <= getattr(self.rate_limits, name) <= RATE_MAX:
                raise Invalid(f"1 to {RATE_MAX:,} a minute", field=f"rate_limits.{name}")

    def _assert_event_actions(self) -> None:
        if len(self.event_actions) > EVENT_ACTIONS_MAX:
            raise Invalid(f"at most {EVENT_ACTIONS_MAX}", field="event_actions")
        for number, each in enumerate(self.event_actions):
            each.assert_valid(f"event_actions[{number}]")

    def _assert_push_domain(self) -> None:
        if self.uses_external_push_domain and not self.external_push_domain:
            raise Invalid("the domain that is used is missing", field="external_push_domain")
        if self.external_push_domain and not _DOMAIN.fullmatch(self.external_push_domain):
            raise Invalid("a host name in lower case, such as push.example.org", field="external_push_domain")


_CONTACT_FIELDS = (
    "default_contact_field",
    "contact_field_app_installed",
    "contact_field_push_accepted",
    "contact_field_last_mobile_activity",
)
