"""The exchange's own keys: made on the first start, read afterwards, shown to nobody.

    keys/id.key       32 bytes, hex. Every id on a subject comes from it; it never rotates
    keys/master.key   32 bytes, hex. Wraps the keys that seal personal fields
    keys/former/*.key master keys of before a rotation: keys in backups may still be wrapped by them
    keys/jwt/*.json   one JWK (Ed25519, private) each, named by its kid; the newest signs, all verify
    keys/sdk/*.json   keys of devices' tokens, likewise (infra/signing)
    keys/vapid.pem    P-256 pair of the web push channel, where no other is configured

MSGXC_ID_KEY, MSGXC_MASTER_KEY and MSGXC_JWT_KEYS go before the files. A log whose id key is gone or another one
is never started on. A key is named by its id, the first 16 hex digits of a SHA-256 over it, which reveals nothing.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from infra.configuration.datafolder import DataFolder, is_private, private_file, replace_private_file
from infra.configuration.environment import Secret, key_bytes
from infra.settings import Keys

KEY_BYTES = 32
JWT_KEYS_MAX = 100
"""More keys than any rotation needs (api/access/keys.py refuses more, too)."""


class SecretsError(Exception):
    """The keys do not fit the data, or cannot be read; one line that says what to do."""


class KeyInfo(msgspec.Struct, frozen=True):
    """What may be told of a key. source: its file or its setting. private: nobody else may read the file."""

    name: str
    id: str
    source: str
    private: bool


@dataclass(frozen=True, slots=True)
class Keyring:
    """jwt: the JWKS file or folder that tokens are verified with."""

    id_key: bytes = field(repr=False)
    master_key: bytes = field(repr=False)
    former_master_keys: tuple[bytes, ...] = field(repr=False)
    jwt: Path
    vapid_file: Path


def open_keyring(folder: DataFolder, overrides: Keys, *, now: datetime) -> Keyring:
    """All keys, made where they are missing. Raises SecretsError when they do not belong to the data that is there."""
    id_key = _id_key(folder, overrides.id)
    master_key, *former = _master_keys(folder, overrides.master)
    jwt = overrides.jwt or folder.jwt
    if overrides.jwt is None and not any(folder.jwt.glob("*.json")):
        add_signing_key(folder.jwt, now=now)
    vapid_file = folder.keys / "vapid.pem"
    private_file(vapid_file, _new_vapid_pem)
    return Keyring(
        id_key=id_key,
        master_key=master_key,
        former_master_keys=tuple(former),
        jwt=jwt,
        vapid_file=vapid_file,
    )


def rotate_master_key(folder: DataFolder) -> str:
    """Make a new master key and keep the former beside it; the new one's id. The stored keys are wrapped anew by
    whoever has the key store open (JetStreamKeyStore.rewrap).
    """
    path = folder.keys / "master.key"
    current = _key(None, path)
    former = folder.keys / "former"
    former.mkdir(mode=0o700, exist_ok=True)
    private_file(former / f"{key_id(current)}.key", lambda: current.hex().encode() + b"\n")
    new = secrets.token_bytes(KEY_BYTES)
    replace_private_file(path, new.hex().encode() + b"\n")
    return key_id(new)


def add_signing_key(jwt: Path, *, now: datetime) -> str:
    """Make the newest key of the folder, which signs from now on; its kid."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    kid = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    private = Ed25519PrivateKey.generate()
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": kid,
        "x": _base64url(private.public_key().public_bytes_raw()),
        "d": _base64url(private.private_bytes_raw()),
    }
    content = msgspec.json.format(msgspec.json.encode(jwk))
    private_file(jwt / f"{kid}.json", lambda: content + b"\n")
    return kid


def signing_key(jwt: Path) -> Mapping[str, Any]:
    """The newest JWK that can sign: by kid, as ours begin with the time they were made."""
    able = [jwk for jwk in read_jwks(jwt) if "d" in jwk or jwk.get("kty") == "oct"]
    if not able:
        raise SecretsError(f"{jwt} holds no private key: tokens for this exchange are made by whoever has it")
    return max(able, key=lambda jwk: str(jwk.get("kid", "")))


def read_jwks(source: Path) -> list[dict[str, Any]]:
    """The JWKs of a file or of the *.json files of a folder. Raises SecretsError naming the file that is wrong."""
    files = sorted(source.glob("*.json")) if source.is_dir() else [source]
    found: list[dict[str, Any]] = []
    for file in files:
        try:
            document = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
            found += msgspec.convert(document.get("keys", [document]), list[dict[str, Any]])
        except OSError as error:
            raise SecretsError(f"{file} cannot be read ({error.strerror}): mend its rights") from error
        except (msgspec.DecodeError, ValueError) as error:
            raise SecretsError(f'{file} is no JWKS: write {{"keys": [...]}} or remove it') from error
    return found[:JWT_KEYS_MAX]


def describe(folder: DataFolder, keyring: Keyring, overrides: Keys) -> list[KeyInfo]:
    """All keys by id, none by value."""
    rows = [
        _info("id", keyring.id_key, overrides.id, folder.id_key),
        _info("master", keyring.master_key, overrides.master, folder.keys / "master.key"),
        _file_info("vapid", keyring.vapid_file),
    ]
    for jwk in read_jwks(keyring.jwt):
        file = keyring.jwt / f"{jwk.get('kid')}.json" if keyring.jwt.is_dir() else keyring.jwt
        private = file.exists() and is_private(file)
        rows.append(KeyInfo("jwt", str(jwk.get("kid", "")), str(file), private))
    return rows


def key_id(key: bytes) -> str:
    return hashlib.sha256(b"msgxc key id\0" + key).hexdigest()[:16]


def _id_key(folder: DataFolder, override: Secret | None) -> bytes:
    """The id key, which must be the one this folder's log began with."""
    path, witness = folder.id_key, folder.keys / "id.fingerprint"
    has_log = (folder.nats / "jetstream").exists()
    if override is None and has_log and not path.exists():
        raise SecretsError(
            f"{path} is missing, and the log in {folder.nats} needs it: restore it from your backup of the keys"
        )
    key = _key(override, path)
    expected = private_file(witness, lambda: key_id(key).encode()).decode().strip()
    if expected != key_id(key) and has_log:
        raise SecretsError(
            f"the id key ({key_id(key)}) is not the one this log began with ({expected}): "
            "set MSGXC_ID_KEY back, or use another MSGXC_DATA_DIR"
        )
    if expected != key_id(key):
        replace_private_file(witness, key_id(key).encode())
    return key


def _master_keys(folder: DataFolder, override: Secret | None) -> list[bytes]:
    """The current one, then the former ones."""
    if override is not None:
        return [key_bytes(text) for text in override.reveal().split(",")]
    former = sorted((folder.keys / "former").glob("*.key"))
    return [_key(None, folder.keys / "master.key"), *(_key(None, path) for path in former)]


def _key(override: Secret | None, path: Path) -> bytes:
    if override is not None:
        return key_bytes(override.reveal())
    text = private_file(path, lambda: secrets.token_bytes(KEY_BYTES).hex().encode() + b"\n")
    try:
        key = key_bytes(text.decode().strip())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise SecretsError(f"{path} holds no key: restore it from your backup of the keys")
    return key


def _new_vapid_pem() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    private = ec.generate_private_key(ec.SECP256R1())
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _info(name: str, key: bytes, override: Secret | None, path: Path) -> KeyInfo:
    if override is not None:
        return KeyInfo(name, key_id(key), f"MSGXC_{name.upper()}_KEY", private=True)
    return KeyInfo(name, key_id(key), str(path), is_private(path))


def _file_info(name: str, path: Path) -> KeyInfo:
    return KeyInfo(name, key_id(path.read_bytes()), str(path), is_private(path))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
