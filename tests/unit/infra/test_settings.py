"""Settings: what the environment says becomes typed values, and a wrong one stops the start with one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.configuration.environment import Environment, key_bytes, read_env_file
from infra.settings import SettingsError, load, read

EXAMPLE = Path(__file__).parents[3] / ".env.example"
SID = "AC" + "0" * 32


def test_nothing_set_runs_everything_here() -> None:
    """With no variable at all: loopback, embedded NATS, SQLite, and every channel to the sandbox."""
    settings = load({})
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8000)
    assert settings.nats.embedded
    assert settings.nats.sync == "always"
    assert settings.cassandra.hosts == ()
    assert settings.data_dir == Path(".msgxc").absolute()
    assert settings.configured_channels == frozenset()


def test_the_example_names_every_setting_and_no_other() -> None:
    """`.env.example` documents each variable that is read, and nothing that is not."""
    environment = Environment({})
    read(environment)
    documented = set(re.findall(r"^MSGXC_([A-Z_]+)=", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == environment.known


def test_the_example_can_be_used_as_it_is() -> None:
    """A copy of `.env.example` is valid and changes no default."""
    assert load({}, env_file=EXAMPLE) == load({})


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MSGXC_HTTP_PORT": "eighty"}, "MSGXC_HTTP_PORT=eighty: write a whole number from 0 to 65535"),
        ({"MSGXC_HTTP_PORT": "65536"}, "whole number from 0 to 65535"),
        ({"MSGXC_HTP_PORT": "80"}, "did you mean MSGXC_HTTP_PORT?"),
        ({"MSGXC_COLOUR": "red"}, "MSGXC_COLOUR is no setting: see .env.example"),
        ({"MSGXC_NATS_URL": "localhost:4222"}, "write a list like nats://"),
        ({"MSGXC_NATS_URL": "nats://host:99999"}, "write nats://host:4222"),
        ({"MSGXC_NATS_SYNC": "sometimes"}, "write something like always, or 2m"),
        ({"MSGXC_CASSANDRA": "a:b:c"}, "write host[:port]"),
        ({"MSGXC_CASSANDRA": "host:0"}, "write host[:port]"),
        ({"MSGXC_CASSANDRA_USER": "x"}, "MSGXC_CASSANDRA_USER is set, but not MSGXC_CASSANDRA_PASSWORD"),
        ({"MSGXC_CASSANDRA_KEYSPACE": "drop table"}, "write something like msgxc"),
        ({"MSGXC_ID_KEY": "short"}, "MSGXC_ID_KEY: its value cannot be used; write at least 32 random bytes"),
        ({"MSGXC_MASTER_KEY": "00" * 31}, "write 32 random bytes"),
        ({"MSGXC_JWT_KEYS": "/nowhere"}, "there is no such file or folder"),
        ({"MSGXC_APNS_KEY_ID": "ABCDEFGHIJ"}, "MSGXC_APNS_KEY_ID is set, but not MSGXC_APNS_KEY_FILE"),
        ({"MSGXC_VAPID_SUBJECT": "me"}, "write something like mailto:push@example.org"),
        (
            {"MSGXC_EZOUT_AUTH": "none", "MSGXC_HTTP_HOST": "0.0.0.0"},
            "MSGXC_EZOUT_AUTH=none: only where MSGXC_HTTP_HOST is 127.0.0.1; write jwt or firebase",
        ),
        ({"MSGXC_EZOUT_AUTH": "maybe"}, "write one of none, jwt, firebase"),
        ({"MSGXC_EZOUT_AUTH": "firebase"}, "MSGXC_FIREBASE_PROJECT is not set: write the project"),
        ({"MSGXC_TWILIO_ACCOUNT_SID": SID}, "is set, but not MSGXC_TWILIO_AUTH_TOKEN"),
        ({"MSGXC_SMTP_URL": "http://x"}, "write smtp://user:password@mail.example.org:587"),
        ({"MSGXC_RABBITMQ_URL": "http://x"}, "write amqps://user:password@rabbit.example.org/vhost"),
        ({"MSGXC_RABBITMQ_QUEUE": "two words"}, "msgxc.contact-updates"),
        ({"MSGXC_SENDGRID_API_KEY": "SG.x"}, "MSGXC_MAIL_FROM is not set"),
        ({"MSGXC_LOG_LEVEL": "loud"}, "write one of debug, info, warning, error"),
        ({"MSGXC_CORS_ORIGINS": "example.org"}, "write a list like https://example.org"),
        (
            {"MSGXC_SENDGRID_API_KEY": "a", "MSGXC_SMTP_URL": "smtp://h", "MSGXC_MAIL_FROM": "a@b.c"},
            "are both set: keep one of them",
        ),
    ],
)
def test_a_wrong_setting_says_in_one_line_what_to_write(variables: dict[str, str], says: str) -> None:
    """The error names the variable and what to write, in one line."""
    with pytest.raises(SettingsError) as caught:
        load(variables)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    """NAME_FILE gives the file's content, without its last line break; both at once are refused."""
    file = tmp_path / "token"
    file.write_text("s3cret\n", encoding="utf-8")
    twilio = {"MSGXC_TWILIO_ACCOUNT_SID": SID, "MSGXC_TWILIO_FROM": "+15005550006"}
    settings = load({**twilio, "MSGXC_TWILIO_AUTH_TOKEN_FILE": str(file)})
    assert settings.twilio.auth_token is not None
    assert settings.twilio.auth_token.reveal() == "s3cret"
    assert settings.configured_channels == {"sms"}
    with pytest.raises(SettingsError, match="both set"):
        load({**twilio, "MSGXC_TWILIO_AUTH_TOKEN_FILE": str(file), "MSGXC_TWILIO_AUTH_TOKEN": "x"})


def test_no_secret_shows(tmp_path: Path) -> None:
    """Neither the settings' repr nor an error holds a secret's value."""
    key = "5e" * 32
    assert key not in repr(load({"MSGXC_ID_KEY": key, "MSGXC_MASTER_KEY": key}))
    with pytest.raises(SettingsError) as caught:
        load({"MSGXC_MASTER_KEY": key + "ab"})
    assert key not in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Values in .env are read, with quotes and comments; an exported variable goes before them."""
    file = tmp_path / ".env"
    file.write_text(
        "# mine\nexport MSGXC_HTTP_PORT='9000'\nMSGXC_LOG_LEVEL=debug # noisy\n\nOTHER=1\n", encoding="utf-8"
    )
    settings = load({"MSGXC_LOG_LEVEL": "error"}, env_file=file)
    assert (settings.http.port, settings.log.level) == (9000, "error")
    assert read_env_file(tmp_path / "absent") == {}


def test_a_broken_env_file_names_its_line(tmp_path: Path) -> None:
    """A line that is no NAME=value is pointed out by its number."""
    file = tmp_path / ".env"
    file.write_text("MSGXC_HTTP_PORT=1\nnonsense\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"\.env, line 2: write NAME=value"):
        load({}, env_file=file)


def test_lists_of_hosts() -> None:
    """host[:port],... with the default port where none is written."""
    settings = load({"MSGXC_CASSANDRA": "10.0.0.1, node-2:9142,[::1]:9043"})
    assert settings.cassandra.hosts == (("10.0.0.1", 9042), ("node-2", 9142), ("::1", 9043))


def test_keys_are_hex_or_base64() -> None:
    """Both ways of writing the same bytes give the same key."""
    raw = bytes(range(32))
    assert key_bytes(raw.hex()) == raw
    assert key_bytes("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=") == raw
    assert key_bytes("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8") == raw


@pytest.mark.parametrize(("host", "auth"), [("127.0.0.1", "none"), ("::1", "none"), ("0.0.0.0", "jwt")])
def test_shops_ask_for_no_token_on_loopback_alone(host: str, auth: str) -> None:
    """Without MSGXC_EZOUT_AUTH a till on this machine needs no token, and everybody else needs one of ours."""
    assert load({"MSGXC_HTTP_HOST": host}).ezout.auth == auth
