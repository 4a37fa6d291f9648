"""The sandbox's own keys and credentials: made on the first start, kept in its folder with mode 0600.

Owns: a private CA and a leaf certificate for 127.0.0.1 and localhost, the APNs .p8 key, the FCM service account,
Twilio's, SendGrid's and SMTP's secrets, and the ports (a web-push endpoint holds its port, so ports outlive restarts).
Never holds a key of a real provider, and never opens a port.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import secrets
import string
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CERTIFICATE_LIFE_DAYS = 3650
"""Ten years: the CA never leaves this machine, and a demo must not stop working by itself."""

PROJECT = "msgxc-sandbox"
TOPIC = "org.msgxc.demo"
SMS_SENDER = "+15005550006"
"""Twilio's own magic number for a valid sender."""


class Secrets(msgspec.Struct):
    """What a provider's console would show its customer. Kept in secrets.json."""

    apns_key_id: str
    apns_team_id: str
    apns_topic: str
    fcm_project: str
    fcm_client_email: str
    fcm_key_id: str
    fcm_token_secret: str
    twilio_account_sid: str
    twilio_auth_token: str
    twilio_sender: str
    sendgrid_api_key: str
    smtp_user: str
    smtp_password: str
    ports: dict[str, int] = {}


class Keyring:
    """Opens the folder, makes what is missing, and hands out keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ca_file = folder / "ca.pem"
        self.certificate_file = folder / "leaf.pem"
        self.certificate_key_file = folder / "leaf.key"
        self.apns_key_file = folder / "apns.p8"
        self.service_account_file = folder / "fcm.json"
        self._secrets_file = folder / "secrets.json"
        if not self.certificate_file.exists():
            self._make_certificates()
        self.secrets = self._load_secrets()
        self.apns_key = self._elliptic_key(self.apns_key_file)
        self.events_key = self._elliptic_key(folder / "sendgrid-events.key")
        self.service_account_key = self._rsa_key(folder / "fcm.key")

    def keep_ports(self, ports: dict[str, int]) -> None:
        """The next start asks for the same ports again."""
        if self.secrets.ports != ports:
            self.secrets.ports = dict(ports)
            self._write(self._secrets_file, _pretty(self.secrets))

    def write_service_account(self, token_uri: str) -> None:
        """The JSON file Google's console would have offered, its token_uri pointing at the sandbox."""
        kept = self.secrets
        account = {
            "type": "service_account",
            "project_id": kept.fcm_project,
            "private_key_id": kept.fcm_key_id,
            "private_key": _private_pem(self.service_account_key).decode(),
            "client_email": kept.fcm_client_email,
            "client_id": "100000000000000000001",
            "auth_uri": token_uri.removesuffix("/token") + "/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }
        self._write(self.service_account_file, _pretty(account))

    def _load_secrets(self) -> Secrets:
        if self._secrets_file.exists():
            return msgspec.json.decode(self._secrets_file.read_bytes(), type=Secrets)
        made = Secrets(
            apns_key_id=_code(10),
            apns_team_id=_code(10),
            apns_topic=TOPIC,
            fcm_project=PROJECT,
            fcm_client_email=f"exchange@{PROJECT}.iam.gserviceaccount.com",
            fcm_key_id=secrets.token_hex(20),
            fcm_token_secret=secrets.token_hex(32),
            twilio_account_sid="AC" + secrets.token_hex(16),
            twilio_auth_token=secrets.token_hex(16),
            twilio_sender=SMS_SENDER,
            sendgrid_api_key=f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}",
            smtp_user="msgxc",
            smtp_password=secrets.token_urlsafe(18),
        )
        self._write(self._secrets_file, _pretty(made))
        return made

    def _elliptic_key(self, file: Path) -> ec.EllipticCurvePrivateKey:
        if not file.exists():
            self._write(file, _private_pem(ec.generate_private_key(ec.SECP256R1())))
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), file.name
        return key

    def _rsa_key(self, file: Path) -> rsa.RSAPrivateKey:
        if not file.exists():
            self._write(file, _private_pem(rsa.generate_private_key(65537, 2048)))
        # We made it: checking its primes again would double the time a start takes.
        key = serialization.load_pem_private_key(file.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey), file.name
        return key

    def _make_certificates(self) -> None:
        """The leaf is written last: where it exists, everything it needs does too."""
        ca_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca = _authority(ca_key)
        leaf = _leaf(leaf_key, ca, ca_key)
        self._write(self.ca_file, ca.public_bytes(serialization.Encoding.PEM))
        self._write(self.certificate_key_file, _private_pem(leaf_key))
        self._write(self.certificate_file, leaf.public_bytes(serialization.Encoding.PEM))

    def _write(self, file: Path, content: bytes) -> None:
        """Whole or not at all, readable by its owner alone from its first byte."""
        draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        draft.replace(file)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("MSGXC sandbox CA")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _certificate(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
    )
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _certificate(_name("localhost"), ca.subject, key)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=CERTIFICATE_LIFE_DAYS))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _code(length: int) -> str:
    """Ten capitals and digits, as Apple's key and team ids are."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(length))


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
