"""A wrong value of any setting stops the start with one line that names the setting and says what to write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from infra.configuration.environment import Environment
from infra.settings import SettingsError, load, read
from tests.fixtures.certificates import Certificates
from tests.fixtures.credentials import NatsAccounts, p256_pem, service_account

SID = "AC" + "0" * 32
TOKEN, ADDRESS = "to ken", "ht!tp://x"

BESIDE = {
    "APNS": {"KEY_FILE": "p256.pem", "KEY_ID": "ABC123DEFG", "TEAM_ID": "DEF123GHIJ", "TOPIC": "org.example"},
    "CASSANDRA": {"USER": "u", "PASSWORD": "p"},
    "TWILIO": {"ACCOUNT_SID": SID, "AUTH_TOKEN": "t", "FROM": "+15005550006"},
    "DOPPLER_LINK": {"KEY": "00" * 16, "IV": "00" * 16},
    "DOPPLER_VISITORS": {"URL": "https://example.org", "TOKEN": "t"},
}
"""What belongs together, so that only the one under test is wrong."""

WRONG = {
    "HTTP_HOST": ("two words", "127.0.0.1"),
    "HTTP_PORT": ("99999", "a whole number from 0 to 65535"),
    "PUBLIC_URL": (ADDRESS, "a URL like https://"),
    "CORS_ORIGINS": ("example.org", "a list like https://"),
    "RATE_PER_MINUTE": ("0", "a whole number from 1"),
    "LOG_LEVEL": ("loud", "one of debug"),
    "LOG_FORMAT": ("xml", "one of auto"),
    "METRICS_PORT": ("-1", "a whole number from 0"),
    "NATS_URL": ("10.0.0.1:4222", "a list like nats://"),
    "NATS_SYNC": ("often", "always, or 2m"),
    "NATS_REPLICAS": ("6", "a whole number from 1 to 5"),
    "CASSANDRA": ("a:b:c", "host[:port]"),
    "CASSANDRA_KEYSPACE": ("Drop Table", "something like msgxc"),
    "CASSANDRA_DC": ("data centre", "something like datacenter1"),
    "CASSANDRA_RF": ("0", "a whole number from 1 to 9"),
    "ID_KEY": ("abcd", "at least 32 random bytes"),
    "MASTER_KEY": ("abcd", "32 random bytes"),
    "SDK_KEYS": ("gsm://mine", "gsm://projects/my-project/secrets/my-secret"),
    "SDK_KEYS_URL": (ADDRESS, "a URL like https://"),
    "APNS_KEY_ID": ("abc", "ABC123DEFG"),
    "APNS_TEAM_ID": ("abc", "DEF123GHIJ"),
    "APNS_TOPIC": ("my app", "org.example.app"),
    "APNS_URL": ("http://api.push.apple.com", "a URL like https://api.push.apple.com"),
    "FCM_URL": (ADDRESS, "a URL like https://"),
    "VAPID_SUBJECT": ("me", "mailto:push@example.org"),
    "WEBPUSH_HOSTS": ("https://x", "a list like fcm.googleapis.com"),
    "TWILIO_ACCOUNT_SID": ("AC12", "AC and 32 hex digits"),
    "TWILIO_FROM": ("+0", "+15005550006"),
    "TWILIO_URL": (ADDRESS, "a URL like https://"),
    "SENDGRID_API_KEY": (TOKEN, "the key that SendGrid shows"),
    "SENDGRID_URL": (ADDRESS, "a URL like https://"),
    "SENDGRID_WEBHOOK_KEY": ("A" * 90, "the verification key"),
    "SMTP_URL": ("smtp://mail.example.org?starttls=no", "smtp://user:password@mail.example.org:587"),
    "MAIL_FROM": ("news at example.org", "Example <news@example.org>"),
    "CONTACTS_URL": (ADDRESS, "a URL like https://"),
    "CONTACTS_TOKEN": (TOKEN, "a bearer token"),
    "APPS_URL": (ADDRESS, "a URL like https://"),
    "APPS_TOKEN": (TOKEN, "a bearer token"),
    "MERCHANTS_URL": (ADDRESS, "a URL like https://"),
    "MERCHANTS_TOKEN": (TOKEN, "a bearer token"),
    "RABBITMQ_URL": ("rabbit", "amqps://user:password@rabbit.example.org/vhost"),
    "RABBITMQ_QUEUE": ("two words", "msgxc.contact-updates"),
    "DOPPLER_LINK_KEY": ("abcd", "an AES key in base64"),
    "DOPPLER_LINK_IV": ("abcd", "16 bytes in base64"),
    "DOPPLER_LINK_REALMS": ("a b", "a list like main,acme"),
    "DOPPLER_VISITORS_URL": (ADDRESS, "a URL like https://"),
    "DOPPLER_VISITORS_TOKEN": (TOKEN, "the token that is asked for there"),
    "EZOUT_AUTH": ("maybe", "one of none, jwt, firebase"),
    "FIREBASE_PROJECT": ("My Shops", "my-shops"),
    "FIREBASE_KEYS_URL": (ADDRESS, "a URL like https://"),
}

_NO_PROJECT = json.dumps({**service_account(), "project_id": None})
_NO_KEY = json.dumps({**service_account(), "private_key": "hunter2"})
_NOT_OURS = json.dumps({**service_account(), "private_key": p256_pem()})
_CREDS = NatsAccounts().creds()

WRONG_FILES = {
    "CA_FILE": (["not PEM", p256_pem()], "certificates to trust (PEM)"),
    "CASSANDRA_CA": (["not PEM", p256_pem()], "certificates to trust (PEM)"),
    "NATS_CREDS": (
        ["not creds", _CREDS.replace("SU", "SA"), _CREDS.replace("\n", "\r\n"), _CREDS[: len(_CREDS) // 2]],
        "a user's .creds file",
    ),
    "APNS_KEY_FILE": (["not PEM", p256_pem(ec.SECP384R1)], "the .p8 file from Apple's developer account"),
    "VAPID_PRIVATE_KEY_FILE": (["not PEM", p256_pem(ec.SECP384R1)], "a P-256 private key (PEM)"),
    "FCM_CREDENTIALS_FILE": (
        ["not JSON", "[]", "{}", _NO_PROJECT, _NO_KEY, _NOT_OURS],
        "JSON file from Fire",
    ),
    "FIREBASE_CREDENTIALS_FILE": (["not JSON", "[]", "{}", _NO_KEY], "a service account's JSON file"),
    "SDK_KEYS_CREDENTIALS_FILE": (["not JSON", "[]", "{}", _NO_KEY], "a service account's JSON file"),
    "CHANNELS_FILE": (["not JSON", "[]", '{"sms": 1}'], '{"channel": {its configuration}, ...}'),
}

MISSING = ("JWT_KEYS", "SDK_KEYS_FILE", "DOPPLER_KEYS")
"""Files or folders that are read, and checked, where they are used (tests/integration/cli/test_wrong_keys.py)."""

ANYTHING = {"DATA_DIR", "CASSANDRA_USER", "CASSANDRA_PASSWORD", "TWILIO_AUTH_TOKEN"}
"""Only whoever is asked, a disk or a server, knows whether it is wrong."""


def refusal(variables: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load({f"MSGXC_{name}": value for name, value in variables.items()})
    line = str(caught.value)
    assert "\n" not in line
    return line


def beside(name: str, folder: Path) -> dict[str, str]:
    """What must be set with it."""
    found: dict[str, str] = {}
    for group, members in BESIDE.items():
        if name.removeprefix(f"{group}_").removesuffix("_FILE") in {*members, "KEY"}:
            found |= {
                f"{group}_{member}": value for member, value in members.items() if name.startswith(group)
            }
    if "APNS_KEY_FILE" in found:
        (folder / "p256.pem").write_text(p256_pem())
        found["APNS_KEY_FILE"] = str(folder / "p256.pem")
    return {"NATS_URL": "nats://10.0.0.1", "MAIL_FROM": "a@b.c", **found}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value(name: str, tmp_path: Path) -> None:
    """The line names the setting and shows what would be right."""
    value, right = WRONG[name]
    line = refusal({**beside(name, tmp_path), name: value})
    assert line.startswith(f"MSGXC_{name}")
    assert right in line


@pytest.mark.parametrize(
    ("name", "which"),
    [(name, which) for name, (wrong, _) in WRONG_FILES.items() for which in range(len(wrong))],
)
def test_a_file_that_holds_something_else(name: str, which: int, tmp_path: Path) -> None:
    """The line names the setting and its value, says what the file should be, and shows nothing of what it is."""
    file = tmp_path / "file"
    contents, right = WRONG_FILES[name]
    file.write_bytes(contents[which].encode())
    line = refusal({**beside(name, tmp_path), name: str(file)})
    assert line.startswith(f"MSGXC_{name}=")
    assert right in line
    assert "hunter2" not in line


@pytest.mark.parametrize("name", [*WRONG_FILES, *MISSING])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    """The line says so."""
    line = refusal({**beside(name, tmp_path), name: str(tmp_path / "gone")})
    assert line.startswith(f"MSGXC_{name}=")
    assert "there is no such file" in line


def secrets() -> list[str]:
    """The settings that a file may hold instead."""
    environment = Environment({})
    read(environment)
    ours = {*WRONG_FILES, *MISSING}
    return sorted(name for name in environment.known if name.endswith("_FILE") and name not in ours)


@pytest.mark.parametrize("name", secrets())
def test_a_secrets_file_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    """Missing, empty, or no text: the line names NAME_FILE."""
    bare, file = name.removesuffix("_FILE"), tmp_path / "file"
    others = {key: value for key, value in beside(bare, tmp_path).items() if key != bare}
    assert "there is no such file" in refusal({**others, name: str(file)})
    for content in (b"", b"\xff\xfe"):
        file.write_bytes(content)
        line = refusal({**others, name: str(file)})
        assert line.startswith(f"MSGXC_{name}")
        assert "write" in line


def test_no_setting_is_left_out() -> None:
    """Each is tried here with a wrong value, or may have any."""
    environment = Environment({})
    read(environment)
    assert {*WRONG, *WRONG_FILES, *MISSING, *secrets(), *ANYTHING} == environment.known


def test_right_files_are_taken(tmp_path: Path) -> None:
    """What providers and tools make is what is asked for."""
    certificates = Certificates(tmp_path)
    files = {
        "FCM_CREDENTIALS_FILE": json.dumps(service_account()),
        "FIREBASE_CREDENTIALS_FILE": json.dumps(service_account()),
        "VAPID_PRIVATE_KEY_FILE": p256_pem(),
        "NATS_CREDS": _CREDS,
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    paths = {f"MSGXC_{name}": str(tmp_path / name) for name in files}
    ca = {"MSGXC_CA_FILE": certificates.ca_file, "MSGXC_CASSANDRA_CA": certificates.ca_file}
    settings = load({"MSGXC_NATS_URL": "nats://h", **paths, **ca})
    assert settings.configured_channels == {"fcm", "webpush"}


def test_a_file_of_settings_that_is_no_text(tmp_path: Path) -> None:
    """A .env in another encoding is named, not traced back."""
    file = tmp_path / ".env"
    file.write_bytes("MSGXC_MAIL_FROM=Café <a@b.c>\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env is not in UTF-8 \(byte 19\): save it as UTF-8"):
        load({}, env_file=file)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A folder or a file whose name is not in UTF-8 could not be told of."""
    assert refusal({"DATA_DIR": "/srv/a\udce9"}).startswith(
        "MSGXC_DATA_DIR: the folder's name is not in UTF-8"
    )
    assert refusal({"JWT_KEYS": "/srv/a\udce9"}).startswith("MSGXC_JWT_KEYS=/srv/a?: there is no such")


def test_servers_may_be_listed_as_people_list_things() -> None:
    """With spaces, and a comma at the end."""
    url = load({"MSGXC_NATS_URL": " nats://a:1 , tls://b:2, "}).nats.url
    assert url is not None
    assert url.reveal() == "nats://a:1,tls://b:2"


@pytest.mark.parametrize("alone", [{"NATS_CREDS": "creds"}, {"NATS_REPLICAS": "3"}])
def test_what_only_a_cluster_can_do_wants_its_address(alone: dict[str, str], tmp_path: Path) -> None:
    """Credentials and replicas mean nothing to the embedded server: without MSGXC_NATS_URL they are a mistake."""
    (tmp_path / "creds").write_text(_CREDS)
    given = {name: str(tmp_path / value) if value == "creds" else value for name, value in alone.items()}
    assert "MSGXC_NATS_URL" in refusal(given)


@pytest.mark.parametrize("url", ["NATS://u:hunter2@h", "nats://u:hunter2@h:99999", "u:hunter2@h"])
def test_no_password_of_nats_shows(url: str) -> None:
    """Neither in an error nor in the settings; it may stand in a file."""
    assert "hunter2" not in refusal({"NATS_URL": url})
    assert "hunter2" not in repr(load({"MSGXC_NATS_URL": "nats://u:hunter2@h"}))


def test_no_password_in_any_other_url_shows() -> None:
    """A URL that is refused is shown without who would have signed in."""
    assert refusal({"CONTACTS_URL": "ftp://u:hunter2@h/p"}).startswith("MSGXC_CONTACTS_URL=ftp://h/p: ")
