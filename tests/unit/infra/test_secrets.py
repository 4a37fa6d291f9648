"""The exchange's own keys: made once, kept private, and never another one under a log that is there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from api.access.keys import key_set, parse_jwks
from infra.configuration.datafolder import DataFolder, DataFolderError, private_file
from infra.configuration.environment import Secret
from infra.secrets import (
    SecretsError,
    add_signing_key,
    describe,
    key_id,
    open_keyring,
    read_jwks,
    rotate_master_key,
    signing_key,
)
from infra.settings import Keys

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NO_OVERRIDES = Keys(jwt=None, id=None, master=None)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data").prepare()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_all_keys_private(folder: DataFolder) -> None:
    """Folders are 0700 and key files 0600, whatever the umask says."""
    before = os.umask(0)
    try:
        open_keyring(folder, NO_OVERRIDES, now=NOW)
    finally:
        os.umask(before)
    assert {_mode(path) for path in (folder.path, folder.keys, folder.jwt)} == {0o700}
    files = [path for path in folder.keys.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"id.key", "master.key", "vapid.pem"}
    assert {_mode(path) for path in files} == {0o600}


def test_a_second_start_finds_the_same_keys(folder: DataFolder) -> None:
    """Nothing is made anew where it is there."""
    first = open_keyring(folder, NO_OVERRIDES, now=NOW)
    files = sorted(folder.keys.rglob("*"))
    assert open_keyring(folder, NO_OVERRIDES, now=NOW) == first
    assert sorted(folder.keys.rglob("*")) == files


def test_settings_go_before_the_files(folder: DataFolder, tmp_path: Path) -> None:
    """MSGXC_ID_KEY, MSGXC_MASTER_KEY and MSGXC_JWT_KEYS override; then no such file is made."""
    jwks = tmp_path / "jwks.json"
    jwks.write_text('{"keys": []}', encoding="utf-8")
    overrides = Keys(jwt=jwks, id=Secret("11" * 32), master=Secret("22" * 32))
    keyring = open_keyring(folder, overrides, now=NOW)
    assert (keyring.id_key, keyring.master_key, keyring.jwt) == (b"\x11" * 32, b"\x22" * 32, jwks)
    assert not (folder.keys / "id.key").exists()
    assert list(folder.jwt.iterdir()) == []


def test_no_key_shows_in_a_repr(folder: DataFolder) -> None:
    """A keyring in a log or a traceback reveals nothing."""
    overrides = Keys(jwt=None, id=Secret("41" * 32), master=None)
    keyring = open_keyring(folder, overrides, now=NOW)
    assert "AAAA" not in repr(keyring)
    shown = repr(describe(folder, keyring, overrides))
    assert "MSGXC_ID_KEY" in shown
    assert keyring.id_key.hex() not in shown
    assert keyring.master_key.hex() not in shown


def test_a_log_without_its_id_key_is_not_started_on(folder: DataFolder) -> None:
    """With the log there and the id key gone, the start stops and says what to restore."""
    open_keyring(folder, NO_OVERRIDES, now=NOW)
    (folder.nats / "jetstream").mkdir(parents=True)
    (folder.keys / "id.key").unlink()
    with pytest.raises(SecretsError, match="restore it from your backup"):
        open_keyring(folder, NO_OVERRIDES, now=NOW)


def test_another_id_key_is_refused_once_there_is_a_log(folder: DataFolder) -> None:
    """Before there is a log the key may still change; afterwards never."""
    open_keyring(folder, Keys(jwt=None, id=Secret("11" * 32), master=None), now=NOW)
    second = Keys(jwt=None, id=Secret("22" * 32), master=None)
    open_keyring(folder, second, now=NOW)
    (folder.nats / "jetstream").mkdir(parents=True)
    open_keyring(folder, second, now=NOW)
    with pytest.raises(SecretsError, match="not the one this log began with"):
        open_keyring(folder, Keys(jwt=None, id=Secret("33" * 32), master=None), now=NOW)


def test_the_newest_key_signs_and_all_verify(folder: DataFolder) -> None:
    """After a rotation new tokens carry the new kid; tokens of the old key are still good."""
    open_keyring(folder, NO_OVERRIDES, now=NOW)
    old = signing_key(folder.jwt)
    kid = add_signing_key(folder.jwt, now=NOW.replace(year=2027))
    new = signing_key(folder.jwt)
    assert new["kid"] == kid != old["kid"]
    verifying = key_set(
        [key for jwk in read_jwks(folder.jwt) for key in parse_jwks(jwk, source="test")], source="test"
    )
    for jwk in (old, new):
        token = jwt.encode(
            {"sub": "u"}, jwt.PyJWK(dict(jwk)).key, algorithm="EdDSA", headers={"kid": jwk["kid"]}
        )
        key = verifying.find("EdDSA", jwk["kid"])
        assert key is not None
        assert jwt.decode(token, key.verifier, algorithms=["EdDSA"])["sub"] == "u"


def test_only_public_keys_cannot_sign(tmp_path: Path) -> None:
    """A JWKS without private keys says that tokens are made elsewhere."""
    jwks = tmp_path / "jwks.json"
    jwks.write_text('{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "", "kid": "a"}]}', encoding="utf-8")
    with pytest.raises(SecretsError, match="no private key"):
        signing_key(jwks)


def test_a_broken_jwks_is_named(tmp_path: Path) -> None:
    """The error names the file and what to write."""
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    with pytest.raises(SecretsError, match=r"a\.json is no JWKS"):
        read_jwks(tmp_path)


def test_many_makers_get_one_key(tmp_path: Path) -> None:
    """Of twenty that make the same file at once one wins, and all return its content."""
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: private_file(tmp_path / "key", lambda: os.urandom(16)), range(20)))
    assert set(made) == {(tmp_path / "key").read_bytes()}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_one_exchange_at_a_time(folder: DataFolder) -> None:
    """A second holder is told whose process has the folder; afterwards it is free."""
    with folder.held():
        assert folder.holder() == os.getpid()
        with pytest.raises(DataFolderError, match=f"in use by process {os.getpid()}"), folder.held(wait_s=0):
            pass
    assert folder.holder() is None
    with folder.held(wait_s=0):
        pass


def test_a_killed_holder_leaves_no_lock(folder: DataFolder) -> None:
    """After SIGKILL the next start has the folder at once."""
    script = (
        "import sys, time; from pathlib import Path; from infra.configuration.datafolder import DataFolder\n"
        f"with DataFolder(Path({str(folder.path)!r})).held():\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert folder.holder() == process.pid
        process.kill()
    with folder.held(wait_s=1):
        assert folder.holder() == os.getpid()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error names the folder and the setting."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataFolderError, match="set MSGXC_DATA_DIR"):
        DataFolder(tmp_path / "file" / "data").prepare()


def test_a_rotated_master_key_keeps_the_former(folder: DataFolder) -> None:
    """The new key is current; what the former wrapped can still be opened."""
    before = open_keyring(folder, NO_OVERRIDES, now=NOW)
    new_id = rotate_master_key(folder)
    after = open_keyring(folder, NO_OVERRIDES, now=NOW)
    assert key_id(after.master_key) == new_id
    assert after.former_master_keys == (before.master_key,)
    assert _mode(folder.keys / "master.key") == 0o600


def test_former_master_keys_follow_a_comma(folder: DataFolder) -> None:
    """MSGXC_MASTER_KEY=new,former."""
    keyring = open_keyring(
        folder, Keys(jwt=None, id=None, master=Secret("22" * 32 + "," + "33" * 32)), now=NOW
    )
    assert (keyring.master_key, keyring.former_master_keys) == (b"\x22" * 32, (b"\x33" * 32,))
