"""Where a stock phone lives: an exchange's app, the network between them, and storage that outlives each process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from tests.fixtures.certificates import Certificates
from tests.replays.sdks.devices import claims
from tests.replays.served_place import ServedPlace
from tests.replays.stock import until
from tests.replays.stock_android.jars import Stock
from tests.replays.stock_android.phone import Phone, phone
from tests.replays.terminator import Exchanged, Hosts, Terminator, terminator

TRUST = "trust.p12"
PASSWORD = "changeit"
"""A Java trust store has one; this one is as public as the certificate in it."""
HOSTS = Hosts(
    served=(
        "me-client.eservice.emarsys.net",
        "mobile-events.eservice.emarsys.net",
        "me-inbox.eservice.emarsys.net",
    ),
    answered={
        "mobile-sdk-config.gservice.emarsys.net": lambda _: (
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
        ),
        "log-dealer.eservice.emarsys.net": lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    },
)
"""Remote configuration must be signed by Emarsys, so that there is none; logs of the SDK itself go nowhere."""


@dataclass(slots=True)
class Stage:
    """`folder` keeps the phone's storage, its log and the trust store."""

    place: ServedPlace
    network: Terminator
    folder: Path
    stock: Stock

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Phone]:
        """One process of the app. It fails the test when the SDK caught something within itself."""
        storage = self.folder / "storage"
        storage.mkdir(exist_ok=True)
        async with phone(self._command(storage), self.folder / "phone.log") as one:
            yield one
            crashes = await one.call("crashes")
            assert not crashes, f"caught within the SDK: {crashes}"

    def _command(self, storage: Path) -> list[str]:
        properties = {
            "phone.storage": storage,
            "robolectric.offline": "true",
            "robolectric.dependency.dir": self.stock.android,
            "https.proxyHost": "127.0.0.1",
            "https.proxyPort": self.network.port,
            "javax.net.ssl.trustStore": self.folder / TRUST,
            "javax.net.ssl.trustStorePassword": PASSWORD,
        }
        given = [f"-D{name}={value}" for name, value in properties.items()]
        # One life is too short for the JVM's better compiler.
        return [
            self.stock.java,
            "-Xmx1g",
            "-XX:TieredStopAtLevel=1",
            *given,
            "-cp",
            self.stock.class_path,
            "Main",
        ]

    async def started(self, one: Phone) -> None:
        """The app is open, and its start was told."""
        await one.call("setup", self.place.app)
        await one.call("open")
        await until(lambda: "app:start" in self.network.events_sent())

    def state(self) -> dict[str, Any]:
        """The claims of the client state that the phone was given last."""
        given = [call.answer_headers.get("x-client-state", "") for call in self.calls]
        return claims([state for state in given if state][-1])

    @property
    def calls(self) -> list[Exchanged]:
        return self.network.calls

    def assert_unsurprised(self) -> None:
        """No call went elsewhere, and each was answered as the SDK hopes."""
        self.network.assert_unsurprising()
        assert not self.network.stray


@asynccontextmanager
async def stage(place: ServedPlace, stock: Stock, folder: Path) -> AsyncIterator[Stage]:
    certificates = Certificates(folder / "certificates", *HOSTS.served, *HOSTS.answered)
    _write_trust(folder / TRUST, Path(certificates.ca_file))
    async with terminator(place.exchange.port, certificates.server(), HOSTS) as network:
        yield Stage(place, network, folder, stock)


def _write_trust(store: Path, ca_file: Path) -> None:
    """Whom the phone believes, in the only form that Java reads."""
    authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    trusted = [pkcs12.PKCS12Certificate(authority, b"authority")]
    store.write_bytes(pkcs12.serialize_java_truststore(trusted, BestAvailableEncryption(PASSWORD.encode())))
