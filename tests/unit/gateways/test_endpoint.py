"""Web push endpoints come from users: only what the operator listed is ever connected to."""

from __future__ import annotations

import pytest

from gateways.endpoint import AllowedHosts, EndpointRefused, is_public
from gateways.http2.dial import DialFailed, Origin
from gateways.webpush import PUSH_SERVICES

LISTED = AllowedHosts([*PUSH_SERVICES, "127.0.0.1:8443", "[::1]:8443", "Push.Example.ORG"])


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://fcm.googleapis.com/fcm/send/abc:x_y-z", "fcm.googleapis.com", 443, "/fcm/send/abc:x_y-z"),
        (
            "https://updates.push.services.mozilla.com/wpush/v2/x",
            "updates.push.services.mozilla.com",
            443,
            "/wpush/v2/x",
        ),
        ("https://web.push.apple.com/Q?x=1", "web.push.apple.com", 443, "/Q?x=1"),
        (
            "https://wns2-by3p.notify.windows.com/w/?token=A%2b",
            "wns2-by3p.notify.windows.com",
            443,
            "/w/?token=A%2b",
        ),
        ("https://FCM.googleapis.com:443/x", "fcm.googleapis.com", 443, "/x"),
        ("https://push.example.org", "push.example.org", 443, "/"),
        ("https://127.0.0.1:8443/push/1", "127.0.0.1", 8443, "/push/1"),
        ("https://[::1]:8443/push/1", "::1", 8443, "/push/1"),
    ],
)
def test_listed_endpoints(url: str, host: str, port: int, path: str) -> None:
    """Taken apart once; what is connected to is what was checked."""
    endpoint = LISTED.check(url)
    assert (endpoint.origin, endpoint.path) == (Origin(host, port), path)


@pytest.mark.parametrize(
    "url",
    [
        "http://fcm.googleapis.com/x",
        "ftp://fcm.googleapis.com/x",
        "//fcm.googleapis.com/x",
        "fcm.googleapis.com",
        "",
        "https://",
        "https:///x",
        "https://evil.example/fcm.googleapis.com",
        "https://fcm.googleapis.com.evil.example/",
        "https://evilfcm.googleapis.com/",
        "https://xpush.apple.com/",
        "https://push.apple.com/",
        "https://.push.apple.com/",
        "https://evil.example#.push.apple.com/",
        "https://evil.example?.push.apple.com/",
        "https://evil.example\\.push.apple.com/",
        "https://evil.example%2f.push.apple.com/",
        "https://fcm.googleapis.com@evil.example/",
        "https://evil.example@fcm.googleapis.com/",
        "https://user:pass@fcm.googleapis.com/",
        "https://fcm.googleapis.com:8443/",
        "https://fcm.googleapis.com:0/",
        "https://fcm.googleapis.com:99999/",
        "https://fcm.googleapis.com:x/",
        "https://fcm.googleapis.com/#fragment",
        "https://127.0.0.1/",
        "https://127.0.0.1:443/",
        "https://127.0.0.1:8444/",
        "https://127.1:8443/",
        "https://2130706433:8443/",
        "https://0x7f000001:8443/",
        "https://localhost:8443/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]:8443/",
        "https://fcm.googleapis.com/ HTTP/1.1\r\nX-Evil: 1",
        "https://fcm.googleapis.com/\r\n\r\nGET /",
        "https://fcm.googleapis.com/ü",
        "https://fcm。googleapis。com/",
        " https://fcm.googleapis.com/",
        "https://fcm.googleapis.com/" + "x" * 3_000,
        "https://" + "x" * 64 + ".push.apple.com/",
        "https://" + "x." * 150 + "push.apple.com/",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    """Other schemes, hosts, ports, spellings of addresses, and whatever parsers disagree about."""
    with pytest.raises(EndpointRefused):
        LISTED.check(url)


@pytest.mark.parametrize("entry", ["", "*", "*.", "https://x", "a/b", "*.*.x", "a:b", "a b", "::1"])
def test_a_list_that_says_nothing_sensible(entry: str) -> None:
    """An operator's slip is told at the start, not at the first push."""
    with pytest.raises(ValueError, match=r"write push\.example\.org"):
        AllowedHosts([entry])


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    """On the open internet."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not(address: str) -> None:
    """Loopback, private, link-local, carrier's, multicast, and all of them inside an IPv6 address."""
    assert not is_public(address)


async def test_a_listed_name_that_leads_inside() -> None:
    """DNS may be lying: a name on the list that resolves to this machine is not connected to."""
    listed = AllowedHosts(["localhost", "localhost:8443"])
    with pytest.raises(DialFailed) as refused:
        await listed.resolve("localhost", 443)
    assert refused.value.code == "private-address"
    assert set(await listed.resolve("localhost", 8443)) <= {"127.0.0.1", "::1"}
