"""Signing keys: what may be one, which one signs, and how a change of the files is taken up."""

from __future__ import annotations

import base64
import json
import os
import random
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from infra.signing.environment import FixedSigningKeys
from infra.signing.files import LOOK_AGAIN_S, SIGNS_AFTER_S, FileSigningKeys
from infra.signing.folder import add_key, ensure_key
from infra.signing.key import KEYS_MAX, BadKey, key_set, parse

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOBODY = 65_534
"""A user without any rights."""
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED25519, RSA = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
SECRETS = random.Random(1)
"""The same in every process: they are in tests' names, which processes that share the tests compare."""


def pem(private: Any, password: bytes = b"") -> bytes:
    sealing = BestAvailableEncryption(password) if password else NoEncryption()
    made: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing)
    return made


def jwk(algorithm: Any, private: Any, **more: Any) -> dict[str, Any]:
    return {**json.loads(algorithm.to_jwk(private)), **more}


def secret(kid: str, length: int = 32, **more: Any) -> dict[str, Any]:
    k = base64.urlsafe_b64encode(SECRETS.randbytes(length)).rstrip(b"=").decode()
    return {"kty": "oct", "kid": kid, "k": k, **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(
    ("content", "algorithm"),
    [
        (b"ab" * 32, "HS256"),
        (base64.b64encode(bytes(range(32))), "HS256"),
        (b"\n " + b"ab" * 32 + b"\n", "HS256"),
        (jwks(secret("k1")), "HS256"),
        (json.dumps(secret("k1", alg="HS256", use="sig")).encode(), "HS256"),
        (pem(P256), "ES256"),
        (pem(ED25519), "EdDSA"),
        (jwks(jwk(ECAlgorithm, P256, kid="k1")), "ES256"),
        (jwks(jwk(OKPAlgorithm, ED25519)), "EdDSA"),
    ],
)
def test_a_key_has_the_one_algorithm_of_its_kind(content: bytes, algorithm: str) -> None:
    """Whatever form it is written in; what it signs it verifies, and nothing else."""
    [key] = parse(content, source="here")
    assert key.algorithm == algorithm
    signature = key.sign(b"data")
    assert key.verify(b"data", signature)
    for wrong in (b"", b"x", signature[:-1], signature + b"x", signature[::-1], bytes(len(signature))):
        assert not key.verify(b"data", wrong)
    assert not key.verify(b"date", signature)


@pytest.mark.parametrize(
    ("content", "mend"),
    [
        (b"", "at least 32 bytes"),
        (b"not a key", "32 random bytes"),
        (b"\xff\xfe", "32 random bytes"),
        (b"ab" * 31, "at least 32 bytes"),
        (b"{", "no JWKS"),
        (b'{"keys": 1}', "no JWKS"),
        (b'{"keys": [1]}', "no JWKS"),
        (b'{"keys": "\xff"}', "no JWKS"),
        (b'{"keys": ' + b"[" * 100_000, "no JWKS"),
        (jwks(secret("k1", 31)), "at least 32 bytes"),
        (jwks(secret("../k1")), "a kid has"),
        (jwks(secret("k" * 65)), "a kid has"),
        (jwks({**secret("k1"), "kid": 7}), "a kid has"),
        (jwks(secret("k1", alg="none")), "use HS256"),
        (jwks(secret("k1", alg="HS512")), "use HS256"),
        (jwks({"kty": "oct", "kid": "k1"}), "cannot be read"),
        (jwks(jwk(RSAAlgorithm, RSA)), "use HS256"),
        (jwks(jwk(ECAlgorithm, P384)), "use HS256"),
        (jwks(jwk(ECAlgorithm, P256.public_key())), "public key cannot sign"),
        (pem(RSA), "P-256 or an Ed25519"),
        (pem(P384), "P-256 or an Ed25519"),
        (pem(P256, b"password"), "without a password"),
        (P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "no private key"),
    ],
)
def test_what_cannot_be_used_is_named_without_showing_it(content: bytes, mend: str) -> None:
    """One line that says where and what to write."""
    with pytest.raises(BadKey, match=mend) as refused:
        parse(content, source="keys/sdk/a.json")
    assert "keys/sdk/a.json" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "ababab" not in str(refused.value)


def test_no_key_shows_in_a_repr() -> None:
    """A set of keys in a log or a traceback reveals kids alone."""
    content = jwks(secret("k1"), jwk(ECAlgorithm, P256, kid="k2"))
    shown = repr(FixedSigningKeys(content.decode()).current())
    assert "k1" in shown
    assert "k2" in shown
    for key in json.loads(content)["keys"]:
        assert key.get("k", key.get("d")) not in shown
    assert "b'" not in shown


def test_a_key_without_a_kid_gets_the_same_one_everywhere() -> None:
    """So that two processes with the same key agree on what a token says."""
    assert parse(pem(P256), source="a")[0].kid == parse(pem(P256), source="b")[0].kid
    assert parse(pem(P256), source="a")[0].kid != parse(pem(ED25519), source="a")[0].kid


def test_keys_for_encryption_are_passed_over() -> None:
    """Only what is for signatures counts (RFC 7517, section 4.2)."""
    assert [key.kid for key in parse(jwks(secret("a", use="enc"), secret("b")), source="x")] == ["b"]


def test_in_the_environment_the_first_signs_and_all_verify() -> None:
    """A rotation is a restart with new,former; before it, one with former,new."""
    keys = FixedSigningKeys(jwks(secret("new"), secret("former")).decode()).current()
    assert keys.signing.kid == "new"
    assert [key.kid for key in keys.verifying] == ["new", "former"]


@pytest.mark.parametrize(
    "content", [jwks(), jwks(secret("a"), secret("a")), jwks(*(secret(f"k{i}") for i in range(KEYS_MAX + 1)))]
)
def test_a_set_has_some_keys_with_kids_of_their_own(content: bytes) -> None:
    """None, two of one name, or more than a rotation can need: a mistake that is refused."""
    with pytest.raises(BadKey):
        key_set(parse(content, source="x"), source="x")


class Watched:
    """A source on disk and the keys that follow it, with a clock that the test moves."""

    def __init__(self, source: Path) -> None:
        self.now_s = time.time()
        self.keys = FileSigningKeys(source, monotonic=lambda: self.now_s, now_s=lambda: self.now_s)

    def after(self, seconds: float) -> tuple[str, set[str]]:
        """The kids of what signs and what verifies then."""
        self.now_s += seconds
        current = self.keys.current()
        return current.signing.kid, {key.kid for key in current.verifying}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sdk").mkdir()
    return tmp_path / "sdk"


def test_the_first_start_makes_a_private_key_once(folder: Path) -> None:
    """Mode 0600, whatever the umask; a second start finds it."""
    before = os.umask(0)
    try:
        ensure_key(folder, now=NOW)
        ensure_key(folder, now=NOW)
    finally:
        os.umask(before)
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert FileSigningKeys(folder).current().signing.kid == file.stem


def test_a_new_key_verifies_at_once_and_signs_a_moment_later(folder: Path) -> None:
    """Every process has seen it before the first token comes that it signed; then old and new verify."""
    first = add_key(folder, now=NOW)
    watched = Watched(folder)
    second = add_key(folder, now=NOW.replace(hour=4))
    assert watched.after(LOOK_AGAIN_S / 2) == (first, {first})
    assert watched.after(LOOK_AGAIN_S) == (first, {first, second})
    assert watched.after(SIGNS_AFTER_S - 2 * LOOK_AGAIN_S) == (first, {first, second})
    assert watched.after(LOOK_AGAIN_S) == (second, {first, second})
    (folder / f"{first}.json").unlink()
    assert watched.after(LOOK_AGAIN_S) == (second, {second})


def test_a_process_that_was_not_asked_for_long_signs_with_the_new_key_at_once(folder: Path) -> None:
    """The others have seen it long ago, or will when they are asked."""
    first = add_key(folder, now=NOW)
    watched = Watched(folder)
    second = add_key(folder, now=NOW.replace(hour=4))
    assert watched.after(SIGNS_AFTER_S + 0.1) == (second, {first, second})


def test_a_key_that_is_taken_away_signs_and_verifies_nothing_more(folder: Path) -> None:
    """Even while it still was the one to sign: there is no waiting with a key that may be known to others."""
    first = add_key(folder, now=NOW)
    watched = Watched(folder)
    second = add_key(folder, now=NOW.replace(hour=4))
    watched.after(LOOK_AGAIN_S)
    (folder / f"{first}.json").unlink()
    assert watched.after(LOOK_AGAIN_S) == (second, {second})


def test_the_set_is_the_same_object_until_something_changes(folder: Path) -> None:
    """What was verified may be remembered as long as it is."""
    add_key(folder, now=NOW)
    watched = Watched(folder)
    before = watched.keys.current()
    watched.after(10)
    assert watched.keys.current() is before
    add_key(folder, now=NOW.replace(hour=4))
    watched.after(LOOK_AGAIN_S)
    assert watched.keys.current() is not before


def truncate(folder: Path) -> None:
    next(folder.iterdir()).write_text("{", encoding="utf-8")


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def remove(folder: Path) -> None:
    empty(folder)
    folder.rmdir()


def mistype(folder: Path) -> None:
    (folder / "zzz.pem").write_text("-----BEGIN PRIVATE KEY-----", encoding="utf-8")


@pytest.mark.parametrize("spoil", [truncate, empty, remove, mistype])
def test_a_change_that_cannot_be_used_leaves_the_former_keys(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    """A typing mistake signs nobody out; mended, it is taken up."""
    first = add_key(folder, now=NOW)
    watched = Watched(folder)
    spoil(folder)
    assert watched.after(LOOK_AGAIN_S) == (first, {first})
    folder.mkdir(exist_ok=True)
    empty(folder)
    second = add_key(folder, now=NOW.replace(hour=4))
    assert watched.after(LOOK_AGAIN_S) == (second, {second})


@contextmanager
def out_of_reach(folder: Path) -> Iterator[None]:
    """Nobody may look into it; root, who always may, is somebody else meanwhile."""
    folder.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_folder_that_cannot_be_looked_into_leaves_the_former_keys(folder: Path) -> None:
    """A slip with its rights, or a disk that fails: no call breaks, and a start says what is wrong."""
    first = add_key(folder, now=NOW)
    watched = Watched(folder)
    with out_of_reach(folder):
        for _ in range(2):
            assert watched.after(LOOK_AGAIN_S) == (first, {first})
        with pytest.raises(BadKey, match="rights"):
            FileSigningKeys(folder)
    second = add_key(folder, now=NOW.replace(hour=4))
    assert watched.after(SIGNS_AFTER_S) == (second, {first, second})


def test_a_folder_takes_pem_files_too_named_by_their_file(folder: Path) -> None:
    """The newest by name signs."""
    (folder / "2026-01.pem").write_bytes(pem(P256))
    (folder / "2026-02.pem").write_bytes(pem(ED25519))
    (folder / "notes.txt").write_text("not a key", encoding="utf-8")
    assert Watched(folder).after(0) == ("2026-02", {"2026-01", "2026-02"})


def test_in_a_file_the_first_key_signs(tmp_path: Path) -> None:
    """And the order may change without a restart."""
    file, one, two = tmp_path / "jwks.json", secret("one"), secret("two")
    file.write_bytes(jwks(one, two))
    watched = Watched(file)
    assert watched.after(0) == ("one", {"one", "two"})
    file.write_bytes(jwks(two, one) + b"\n")
    assert watched.after(LOOK_AGAIN_S) == ("one", {"one", "two"})
    assert watched.after(SIGNS_AFTER_S) == ("two", {"one", "two"})


def test_a_source_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """Without a key nothing can be signed."""
    with pytest.raises(BadKey):
        FileSigningKeys(tmp_path)
    with pytest.raises(BadKey):
        FileSigningKeys(tmp_path / "missing.json")
