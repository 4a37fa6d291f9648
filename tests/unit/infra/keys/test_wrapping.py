"""Keys under a master key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.keys.wrapping import DESTROYED, MasterKeys, WrongMasterKey

keys = st.binary(min_size=32, max_size=32)


@given(keys, keys, st.text(max_size=20))
def test_a_key_comes_back_under_its_master_and_name_alone(master: bytes, key: bytes, name: str) -> None:
    """Another name or master key opens nothing."""
    wrapped = MasterKeys(master).wrap(key, name)
    assert key not in wrapped
    assert MasterKeys(master).unwrap(wrapped, name) == key
    with pytest.raises(WrongMasterKey):
        MasterKeys(master).unwrap(wrapped, name + "x")
    with pytest.raises(WrongMasterKey):
        MasterKeys(bytes(a ^ 1 for a in master)).unwrap(wrapped, name)


@given(keys, keys, keys)
def test_former_master_keys_still_open(former: bytes, current: bytes, key: bytes) -> None:
    """While keys are being rotated; what is wrapped anew is under the current one."""
    both = MasterKeys(current, [former])
    old = MasterKeys(former).wrap(key, "n")
    assert both.unwrap(old, "n") == key
    assert both.is_current(old) == (former == current)
    assert MasterKeys(current).unwrap(both.wrap(key, "n"), "n") == key


def test_a_wrapped_key_is_never_taken_for_a_destroyed_one() -> None:
    """They differ in the first byte."""
    assert not MasterKeys(bytes(32)).wrap(bytes(32), "n").startswith(DESTROYED[:1])


def test_a_master_key_has_its_size() -> None:
    """And unwraps only what has the form of a wrapped key."""
    with pytest.raises(ValueError, match="32"):
        MasterKeys(b"short")
    with pytest.raises(WrongMasterKey):
        MasterKeys(bytes(32)).unwrap(b"\x07anything", "n")
