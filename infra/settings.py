"""What the environment decides: every MSGXC_ variable, typed, checked and frozen before anything starts.

Owns the names of the settings; `.env.example` explains each. Never opens a connection or makes a key, and no secret
shows in a repr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from domain.deliveries.channel import APNS, EMAIL, FCM, SMS, WEBPUSH
from infra.configuration.credentials import (
    are_certificates,
    are_channels,
    is_p256_key,
    is_p256_public_key,
    is_project_account,
    is_service_account,
)
from infra.configuration.doppler_settings import Doppler, read_doppler
from infra.configuration.environment import (
    Environment,
    Secret,
    SettingsError,
    is_visible_ascii,
    key_size,
    read_env_file,
)
from infra.emarsys_http.settings import Services, read_services
from infra.nats.settings import Nats, read_nats
from infra.rabbitmq.settings import RabbitMq, read_rabbitmq
from infra.signing.settings import SdkKeys, read_sdk_keys

__all__ = ["Settings", "SettingsError", "load"]

_HTTP = ("http", "https")
_AUTHORITIES = "certificates to trust (PEM)"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WEBPUSH_HOSTS = "fcm.googleapis.com,updates.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com"


class Http(msgspec.Struct, frozen=True):
    """port 0: any free one. public_url: how the outside reaches us, for links and webhook signatures."""

    host: str
    port: int
    public_url: str
    cors_origins: tuple[str, ...]
    rate_per_minute: int


class Cassandra(msgspec.Struct, frozen=True):
    """hosts (): SQLite is the read store."""

    hosts: tuple[tuple[str, int], ...]
    keyspace: str
    user: str
    password: Secret | None
    dc: str
    rf: int
    ca: Path | None


class Keys(msgspec.Struct, frozen=True):
    """What overrides the keys in the data folder."""

    jwt: Path | None
    id: Secret | None
    master: Secret | None


class Apns(msgspec.Struct, frozen=True):
    key_file: Path | None
    key_id: str
    team_id: str
    topic: str
    url: str


class Fcm(msgspec.Struct, frozen=True):
    credentials_file: Path | None
    url: str


class WebPush(msgspec.Struct, frozen=True):
    """private_key_file None: the pair in the data folder, and the channel goes to the sandbox."""

    private_key_file: Path | None
    subject: str
    hosts: tuple[str, ...]


class Twilio(msgspec.Struct, frozen=True):
    account_sid: str
    auth_token: Secret | None
    sender: str
    url: str


class Mail(msgspec.Struct, frozen=True):
    """SendGrid or an SMTP server, not both. sendgrid_webhook_key: the public one SendGrid signs its events with."""

    sendgrid_api_key: Secret | None
    sendgrid_webhook_key: str
    sendgrid_url: str
    smtp_url: Secret | None
    sender: str


class EzOut(msgspec.Struct, frozen=True):
    """auth: none, jwt or firebase. keys_url: where the issuer's keys are, other than Google's.

    credentials_file: a service account of the project; with it, revoked tokens are refused.
    """

    auth: str
    firebase_project: str
    firebase_keys_url: str
    firebase_credentials_file: Path | None


class Log(msgspec.Struct, frozen=True):
    """form "auto": coloured lines on a terminal, JSON elsewhere."""

    level: str
    form: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    data_dir: Path
    http: Http
    nats: Nats
    cassandra: Cassandra
    keys: Keys
    sdk_keys: SdkKeys
    apns: Apns
    fcm: Fcm
    webpush: WebPush
    twilio: Twilio
    mail: Mail
    ezout: EzOut
    doppler: Doppler
    services: Services
    rabbitmq: RabbitMq
    channels_file: Path | None
    """Configurations of channels beyond the built-in ones: a JSON object by channel name."""

    metrics_port: int
    log: Log
    ca_file: Path | None

    @property
    def configured_channels(self) -> frozenset[str]:
        """Channels with a provider's credentials; the others go to the sandbox."""
        credentials = {
            APNS: self.apns.key_file,
            FCM: self.fcm.credentials_file,
            WEBPUSH: self.webpush.private_key_file,
            SMS: self.twilio.auth_token,
            EMAIL: self.mail.sendgrid_api_key or self.mail.smtp_url,
        }
        return frozenset(channel for channel, present in credentials.items() if present is not None)


def load(variables: Mapping[str, str] | None = None, *, env_file: Path | None = None) -> Settings:
    """Settings from the environment, over those in `env_file`. Raises SettingsError: one line, what to write."""
    given = os.environ if variables is None else variables
    in_file = read_env_file(env_file) if env_file else {}
    environment = Environment({**in_file, **given})
    settings = read(environment)
    environment.finish()
    return settings


def read(env: Environment) -> Settings:
    http = _http(env)
    return Settings(
        data_dir=env.folder("DATA_DIR", ".msgxc"),
        http=http,
        nats=read_nats(env),
        cassandra=_cassandra(env),
        keys=_keys(env),
        sdk_keys=read_sdk_keys(env),
        apns=_apns(env),
        fcm=Fcm(
            credentials_file=env.file(
                "FCM_CREDENTIALS_FILE",
                holds=is_project_account,
                example="the service account's JSON file from Firebase",
            ),
            url=env.url("FCM_URL", schemes=_HTTP, example="https://fcm.googleapis.com"),
        ),
        webpush=_webpush(env),
        twilio=_twilio(env),
        mail=_mail(env),
        ezout=_ezout(env, http),
        doppler=read_doppler(env),
        services=read_services(env),
        rabbitmq=read_rabbitmq(env),
        channels_file=env.file(
            "CHANNELS_FILE", holds=are_channels, example='a JSON file, {"channel": {its configuration}, ...}'
        ),
        metrics_port=env.number("METRICS_PORT", 0, least=0, most=65535),
        log=Log(
            level=env.choice("LOG_LEVEL", "info", among=("debug", "info", "warning", "error")),
            form=env.choice("LOG_FORMAT", "auto", among=("auto", "json", "console")),
        ),
        ca_file=env.file("CA_FILE", holds=are_certificates, example=_AUTHORITIES),
    )


def _http(env: Environment) -> Http:
    return Http(
        host=env.text("HTTP_HOST", "127.0.0.1", like=r"[A-Za-z0-9.:_-]+", example="127.0.0.1"),
        port=env.number("HTTP_PORT", 8000, least=0, most=65535),
        public_url=env.url("PUBLIC_URL", schemes=_HTTP, example="https://push.example.org"),
        cors_origins=env.names(
            "CORS_ORIGINS",
            "*",
            like=r"\*|https?://[^/\s]+",
            example="https://example.org,https://www.example.org",
        ),
        rate_per_minute=env.number("RATE_PER_MINUTE", 6_000, least=1, most=100_000_000),
    )


def _cassandra(env: Environment) -> Cassandra:
    env.together("CASSANDRA_USER", "CASSANDRA_PASSWORD")
    return Cassandra(
        hosts=env.hosts("CASSANDRA", port=9042),
        keyspace=env.text("CASSANDRA_KEYSPACE", "msgxc", like=r"[a-z][a-z0-9_]{0,47}", example="msgxc"),
        user=env.text("CASSANDRA_USER"),
        password=env.secret("CASSANDRA_PASSWORD"),
        dc=env.text("CASSANDRA_DC", like=r"[A-Za-z0-9_.-]+", example="datacenter1"),
        rf=env.number("CASSANDRA_RF", 1, least=1, most=9),
        ca=env.file("CASSANDRA_CA", holds=are_certificates, example=_AUTHORITIES),
    )


def _keys(env: Environment) -> Keys:
    return Keys(
        jwt=env.file("JWT_KEYS", folder_too=True),
        id=env.secret(
            "ID_KEY",
            check=lambda text: key_size(text) >= 32,
            example="at least 32 random bytes in hex or base64",
        ),
        master=env.secret(
            "MASTER_KEY",
            check=_are_master_keys,
            example="32 random bytes in hex or base64; former ones after a comma",
        ),
    )


def _apns(env: Environment) -> Apns:
    env.together("APNS_KEY_FILE", "APNS_KEY_ID", "APNS_TEAM_ID", "APNS_TOPIC")
    return Apns(
        key_file=env.file(
            "APNS_KEY_FILE",
            holds=is_p256_key,
            example="the .p8 file from Apple's developer account, which holds a P-256 key",
        ),
        key_id=env.text("APNS_KEY_ID", like=r"[A-Z0-9]{10}", example="ABC123DEFG"),
        team_id=env.text("APNS_TEAM_ID", like=r"[A-Z0-9]{10}", example="DEF123GHIJ"),
        topic=env.text("APNS_TOPIC", like=r"[A-Za-z0-9.-]+", example="org.example.app"),
        url=env.url("APNS_URL", schemes=("https",), example="https://api.push.apple.com"),
    )


def _webpush(env: Environment) -> WebPush:
    return WebPush(
        private_key_file=env.file(
            "VAPID_PRIVATE_KEY_FILE", holds=is_p256_key, example="a P-256 private key (PEM)"
        ),
        # RFC 8292, section 2.1; Apple refuses a subject with spaces or angle brackets.
        subject=env.text(
            "VAPID_SUBJECT",
            "mailto:operator@localhost",
            like=r"mailto:[^\s<>@]+@[^\s<>@]+|https://[^\s<>]+",
            example="mailto:push@example.org",
        ),
        hosts=env.names(
            "WEBPUSH_HOSTS",
            _WEBPUSH_HOSTS,
            like=r"(?:\*\.)?[A-Za-z0-9.-]+(?::\d+)?",
            example="fcm.googleapis.com,*.push.apple.com",
        ),
    )


def _twilio(env: Environment) -> Twilio:
    env.together("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")
    return Twilio(
        account_sid=env.text("TWILIO_ACCOUNT_SID", like=r"AC[0-9a-fA-F]{32}", example="AC and 32 hex digits"),
        auth_token=env.secret("TWILIO_AUTH_TOKEN"),
        sender=env.text(
            "TWILIO_FROM",
            like=r"\+[1-9]\d{6,14}|MG[0-9a-fA-F]{32}|[A-Za-z0-9 ]{1,11}",
            example="+15005550006",
        ),
        url=env.url("TWILIO_URL", schemes=_HTTP, example="https://api.twilio.com"),
    )


def _mail(env: Environment) -> Mail:
    mail = Mail(
        sendgrid_api_key=env.secret(
            "SENDGRID_API_KEY", check=is_visible_ascii, example="the key that SendGrid shows"
        ),
        sendgrid_webhook_key=env.text(
            "SENDGRID_WEBHOOK_KEY",
            like=r"[A-Za-z0-9+/]{80,}={0,2}",
            check=is_p256_public_key,
            example="the verification key of SendGrid's event webhook, a line of base64",
        ),
        sendgrid_url=env.url("SENDGRID_URL", schemes=_HTTP, example="https://api.sendgrid.com"),
        smtp_url=env.secret(
            "SMTP_URL", check=_is_smtp_url, example="smtp://user:password@mail.example.org:587"
        ),
        sender=env.text(
            "MAIL_FROM", like=r"[^\r\n\0]+", check=_is_sender, example="Example <news@example.org>"
        ),
    )
    if mail.sendgrid_api_key and mail.smtp_url:
        raise SettingsError("MSGXC_SENDGRID_API_KEY and MSGXC_SMTP_URL are both set: keep one of them")
    if (mail.sendgrid_api_key or mail.smtp_url) and not mail.sender:
        raise SettingsError("MSGXC_MAIL_FROM is not set: write the sender, like Example <news@example.org>")
    return mail


def _ezout(env: Environment, http: Http) -> EzOut:
    local = http.host in _LOOPBACK
    ezout = EzOut(
        auth=env.choice("EZOUT_AUTH", "none" if local else "jwt", among=("none", "jwt", "firebase")),
        firebase_project=env.text("FIREBASE_PROJECT", like=r"[a-z][a-z0-9-]{4,29}", example="my-shops"),
        firebase_keys_url=env.url(
            "FIREBASE_KEYS_URL", schemes=_HTTP, example="https://keys.example.org/jwks"
        ),
        firebase_credentials_file=env.file(
            "FIREBASE_CREDENTIALS_FILE", holds=is_service_account, example="a service account's JSON file"
        ),
    )
    if ezout.auth == "none" and not local:
        raise SettingsError(
            "MSGXC_EZOUT_AUTH=none: only where MSGXC_HTTP_HOST is 127.0.0.1; write jwt or firebase"
        )
    if ezout.auth == "firebase" and not ezout.firebase_project:
        raise SettingsError(
            "MSGXC_FIREBASE_PROJECT is not set: write the project that MSGXC_EZOUT_AUTH=firebase trusts"
        )
    return ezout


def _are_master_keys(text: str) -> bool:
    return all(key_size(key) == 32 for key in text.split(","))


def _is_smtp_url(text: str) -> bool:
    from gateways.mail.smtp import Server

    try:
        Server.of(text)
    except ValueError:
        return False
    return True


def _is_sender(text: str) -> bool:
    from gateways.mail.message import sender_parts

    try:
        sender_parts(text)
    except ValueError:
        return False
    return True
