"""Where contact data, application metadata and merchant settings are, as the environment says it. Opens nothing."""

from __future__ import annotations

import msgspec

from infra.configuration.environment import Environment, Secret, SettingsError, is_visible_ascii


class ServiceSettings(msgspec.Struct, frozen=True):
    """url "": the exchange answers by itself. token: what it is called with."""

    url: str = ""
    token: Secret | None = None


class Services(msgspec.Struct, frozen=True, kw_only=True):
    contacts: ServiceSettings = ServiceSettings()
    apps: ServiceSettings = ServiceSettings()
    merchants: ServiceSettings = ServiceSettings()


def read_services(env: Environment) -> Services:
    """Raises SettingsError."""
    return Services(
        contacts=_service(env, "CONTACTS", "https://contacts.example.org"),
        apps=_service(env, "APPS", "https://apps.example.org"),
        merchants=_service(env, "MERCHANTS", "https://merchants.example.org"),
    )


def _service(env: Environment, name: str, example: str) -> ServiceSettings:
    url = env.url(f"{name}_URL", schemes=("http", "https"), example=example)
    token = env.secret(f"{name}_TOKEN", check=is_visible_ascii, example="a bearer token")
    if token is not None and not url:
        raise SettingsError(f"MSGXC_{name}_TOKEN is set, but not MSGXC_{name}_URL: set it too, or neither")
    return ServiceSettings(url, token)
