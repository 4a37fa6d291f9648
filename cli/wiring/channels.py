"""Which gateway each channel gets: the provider's where there are credentials, the sandbox's otherwise.

Owns the way from settings to a gateway's own configuration. A channel beyond the built-in ones is configured by
MSGXC_CHANNELS_FILE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from api.msgxc.leaving import PATH as LEAVE_PATH
from api.providers import Providers
from api.providers.routes import STATUS_PATH
from domain.deliveries.channel import APNS, BUILT_IN, EMAIL, FCM, SMS, WEBPUSH, WEBSOCKET
from domain.message import Content
from domain.people.leaving import leaving_key
from gateways.endpoint import AllowedHosts
from gateways.port import Gateway
from gateways.registry import build, channels
from gateways.styles import STYLES
from gateways.styles.check import check as check_style
from infra.secrets import Keyring
from infra.settings import Settings, SettingsError, load

SANDBOXED: Final = {
    APNS: ("MSGXC_APNS_",),
    FCM: ("MSGXC_FCM_",),
    WEBPUSH: ("MSGXC_WEBPUSH_",),
    SMS: ("MSGXC_TWILIO_",),
    EMAIL: ("MSGXC_SENDGRID_",),
}
"""By channel, the settings that point its gateway at the sandbox. Mail goes by SendGrid's interface there."""

SETTING_OF: Final = {
    APNS: "MSGXC_APNS_KEY_FILE",
    FCM: "MSGXC_FCM_CREDENTIALS_FILE",
    WEBPUSH: "MSGXC_WEBPUSH_HOSTS",
    SMS: "MSGXC_TWILIO_FROM",
    EMAIL: "MSGXC_MAIL_FROM",
}
"""What to look at first where a gateway cannot be built; what settings can say by themselves was checked as they were
read."""

LOCAL_URL: Final = "MSGXC_PUBLIC_URL"
"""In the sandbox's environment: our own address, since it posts to this machine only."""

SANDBOX_SENDER: Final = "MSGXC <msgxc@example.org>"

Config = dict[str, Any]


def sandboxed_channels(settings: Settings) -> frozenset[str]:
    """Built-in channels without credentials. The websocket channel needs none: it is FEED."""
    return frozenset(BUILT_IN) - {WEBSOCKET} - settings.configured_channels


def with_sandbox(settings: Settings, environment: Mapping[str, str]) -> Mapping[str, Settings]:
    """For each channel the settings its gateway is made from. environment: the sandbox's own."""
    return {
        channel: _sandbox_settings(settings, environment, channel)
        if channel in sandboxed_channels(settings)
        else settings
        for channel in SANDBOXED
    }


def gateway_configs(
    settings: Settings, keyring: Keyring, *, sandbox: Mapping[str, str] | None
) -> dict[str, Config]:
    """Configurations by channel, for gateways.registry.build. sandbox: its environment, where one runs.

    Raises SettingsError for files that cannot be read.
    """
    by_channel = (
        with_sandbox(settings, sandbox) if sandbox else dict.fromkeys(settings.configured_channels, settings)
    )
    configs = {
        channel: _CONFIG_OF[channel](its_settings, keyring) for channel, its_settings in by_channel.items()
    }
    return configs | further_channels(settings)


def further_channels(settings: Settings) -> dict[str, Config]:
    if settings.channels_file is None:
        return {}
    try:
        found = msgspec.json.decode(settings.channels_file.read_bytes(), type=dict[str, dict[str, Any]])
    except (OSError, msgspec.DecodeError) as error:
        raise SettingsError(f'MSGXC_CHANNELS_FILE: {error}; write {{"channel": {{...}}}}') from error
    offered = channels()
    for channel in found.keys() & offered.keys():
        try:
            msgspec.convert(found[channel], offered[channel].config)
        except msgspec.ValidationError as error:
            raise SettingsError(f"MSGXC_CHANNELS_FILE: {channel}: {error}") from error
    return found


def build_gateway(channel: str, config: Config) -> Gateway:
    """Raises SettingsError, one line that names the setting."""
    try:
        return build(channel, config)
    except ValueError as error:
        setting = SETTING_OF.get(channel, "MSGXC_CHANNELS_FILE")
        raise SettingsError(f"{setting}: {error}") from error


class GatewayChecks:
    """commands.port.ContentCheck, by asking the gateways themselves."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self._by_channel = {gateway.channel: gateway for gateway in gateways}

    def __call__(self, content: Content, channels: Sequence[str] | None, *, style: str = "") -> None:
        for channel in self._by_channel if channels is None else channels:
            gateway = self._by_channel.get(channel)
            if gateway is None:
                continue
            if style in STYLES:
                check_style(content, style, channel)
            else:
                gateway.check(content)


def _sandbox_settings(settings: Settings, environment: Mapping[str, str], channel: str) -> Settings:
    variables = {name: value for name, value in environment.items() if name.startswith(SANDBOXED[channel])}
    variables |= {LOCAL_URL: environment[LOCAL_URL]} if LOCAL_URL in environment else {}
    variables["MSGXC_CA_FILE"] = environment["MSGXC_CA_FILE"]
    variables["MSGXC_VAPID_SUBJECT"] = settings.webpush.subject
    variables["MSGXC_MAIL_FROM"] = settings.mail.sender or SANDBOX_SENDER
    return load(variables)


def _apns(settings: Settings, _keyring: Keyring) -> Config:
    apns = settings.apns
    assert apns.key_file is not None
    return _config(
        settings,
        apns.url,
        key_pem=_text("MSGXC_APNS_KEY_FILE", apns.key_file),
        key_id=apns.key_id,
        team_id=apns.team_id,
        topic=apns.topic,
    )


def _fcm(settings: Settings, _keyring: Keyring) -> Config:
    assert settings.fcm.credentials_file is not None
    text = _text("MSGXC_FCM_CREDENTIALS_FILE", settings.fcm.credentials_file)
    try:
        account = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise SettingsError(
            "MSGXC_FCM_CREDENTIALS_FILE: write the path of a service account's JSON file"
        ) from error
    return _config(settings, settings.fcm.url, credentials_info=account)


def _webpush(settings: Settings, keyring: Keyring) -> Config:
    webpush = settings.webpush
    key = _text("MSGXC_VAPID_PRIVATE_KEY_FILE", webpush.private_key_file or keyring.vapid_file)
    return _config(
        settings, "", vapid_private_key_pem=key, subject=webpush.subject, allowed_hosts=webpush.hosts
    )


def _sms(settings: Settings, _keyring: Keyring) -> Config:
    twilio = settings.twilio
    assert twilio.auth_token is not None
    return _config(
        settings,
        twilio.url,
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token.reveal(),
        sender=twilio.sender,
        **_reported(settings),
    )


def _reported(settings: Settings) -> Config:
    """Where Twilio tells us what became of a message; nowhere when it can't reach us."""
    url = settings.http.public_url
    return {"status_callback_url": url.rstrip("/") + STATUS_PATH} if url else {}


def providers_of(settings: Settings, *, sandbox: Mapping[str, str] | None) -> Providers:
    """Whose reports are believed: the providers' by their settings, the sandbox's where it stands in for one."""
    by_channel = with_sandbox(settings, sandbox) if sandbox else dict.fromkeys(SANDBOXED, settings)
    sms, mail = by_channel[SMS], by_channel[EMAIL].mail
    token = sms.twilio.auth_token
    believed = token is not None and sms.http.public_url
    return Providers(
        public_url=sms.http.public_url,
        twilio_auth_token=token.reveal() if token is not None and believed else "",
        sendgrid_key=mail.sendgrid_webhook_key,
    )


def push_hosts_of(settings: Settings, *, sandbox: Mapping[str, str] | None) -> AllowedHosts:
    """Where web pushes may go: as the gateway has it. Raises SettingsError."""
    its_settings = with_sandbox(settings, sandbox)[WEBPUSH] if sandbox else settings
    try:
        return AllowedHosts(its_settings.webpush.hosts)
    except ValueError as error:
        raise SettingsError(f"MSGXC_WEBPUSH_HOSTS: {error}") from error


def _email(settings: Settings, keyring: Keyring) -> Config:
    mail, leaving = settings.mail, _leaving(settings, keyring)
    if mail.smtp_url is not None:
        return {"smtp": _config(settings, mail.smtp_url.reveal(), sender=mail.sender, **leaving)}
    assert mail.sendgrid_api_key is not None
    key = mail.sendgrid_api_key.reveal()
    return {"sendgrid": _config(settings, mail.sendgrid_url, api_key=key, sender=mail.sender, **leaving)}


def _leaving(settings: Settings, keyring: Keyring) -> Config:
    """The link by which a mail's reader leaves; none where nobody outside can reach us."""
    url = settings.http.public_url
    if not url:
        return {}
    return {
        "unsubscribe_url": url.rstrip("/") + LEAVE_PATH,
        "unsubscribe_key": leaving_key(keyring.id_key),
    }


_CONFIG_OF = {APNS: _apns, FCM: _fcm, WEBPUSH: _webpush, SMS: _sms, EMAIL: _email}


def _config(settings: Settings, url: str, **fields: Any) -> Config:
    """Fields, with the URL and the authority where they are set: a gateway knows its provider's own."""
    if url:
        fields["url"] = url
    if settings.ca_file is not None:
        fields["ca_file"] = str(settings.ca_file)
    return fields


def _text(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}: {path} cannot be read; write the path of a text file") from error
