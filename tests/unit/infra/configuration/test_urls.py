"""URLs as people may see them, and our own as they are written."""

import pytest

from infra.configuration.urls import url_of, without_userinfo
from infra.nats.wire.connection import Endpoint


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://api:hunter2@h:4222", "nats://h:4222"),
        ("nats://t0ken@h:4222", "nats://h:4222"),
        ("nats://u:p@h1:4222,tls://u:p@h2, nats://h3", "nats://h1:4222,tls://h2, nats://h3"),
        ("NATS://u:p@h", "NATS://h"),
        ("smtp://u:p/w@d@mail.example.org:587", "smtp://mail.example.org:587"),
        ("nats://u:p,w@h", "nats://h"),
        ("https://example.org/a?b=c", "https://example.org/a?b=c"),
        ("Example <news@example.org>", "Example <news@example.org>"),
    ],
)
def test_who_signs_in_is_not_shown(url: str, shown: str) -> None:
    """User, password and token go; host, port and path stay, and so does what is no URL."""
    assert without_userinfo(url) == shown


def test_an_endpoint_shows_no_secret() -> None:
    """In no repr."""
    endpoint = Endpoint(urls="nats://u:hunter2@h", token="hunter2", password="hunter2")
    assert "hunter2" not in f"{endpoint!r} {endpoint.shown}"


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80"), ("h", "http://h:80")]
)
def test_an_address_in_a_url(host: str, url: str) -> None:
    """IPv6 stands in brackets."""
    assert url_of(host, 80) == url
