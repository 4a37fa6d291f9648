"""The doppler contract's parts, from the settings: who is a superuser, which tokens are good, which links open."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from api.doppler.auth import BadRsaKey, Superusers, parse_keys
from api.doppler.parts import OldLinks, TokenCheck, TrustingCheck, WebDomains
from cli.bootstrap import Exchange
from domain.deliveries.channel import FCM
from gateways.fcm import FcmGateway
from infra.configuration.doppler_settings import Doppler
from infra.configuration.environment import key_bytes
from infra.settings import SettingsError

KEY_FILES_MAX = 100
CHECK_S = 3.0
"""A page that registers waits for it; a provider that takes longer is as good as down."""


def domains_of(exchange: Exchange) -> WebDomains:
    settings = exchange.session.settings.doppler
    gateway = exchange.gateways.get(FCM)
    return WebDomains(
        superusers=Superusers(superuser_keys(settings.keys)),
        keys=exchange.log.keys,
        tokens=FcmCheck(gateway) if isinstance(gateway, FcmGateway) else TrustingCheck(),
        old_links=_old_links(settings),
    )


class FcmCheck(TokenCheck):
    def __init__(self, gateway: FcmGateway) -> None:
        self._gateway = gateway

    async def is_good(self, token: str) -> bool | None:
        return await self._gateway.is_good(token, deadline_s=CHECK_S)


def superuser_keys(path: Path | None) -> list[RSAPublicKey]:
    """Raises SettingsError naming the file that cannot be used."""
    if path is None:
        return []
    files = sorted(path.iterdir())[:KEY_FILES_MAX] if path.is_dir() else [path]
    found: list[RSAPublicKey] = []
    for file in files:
        try:
            found += parse_keys(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, BadRsaKey) as error:
            raise SettingsError(f"MSGXC_DOPPLER_KEYS: {file}: {error}") from error
    if not found:
        raise SettingsError(f"MSGXC_DOPPLER_KEYS: {path} holds no key: write an RSA public key, or unset it")
    return found


def _old_links(settings: Doppler) -> OldLinks | None:
    if settings.link_key is None or settings.link_iv is None:
        return None
    return OldLinks(
        key=key_bytes(settings.link_key.reveal()),
        iv=key_bytes(settings.link_iv.reveal()),
        realms=settings.link_realms,
    )
