"""Fresh randomness for ids."""

from __future__ import annotations

import re

from infra.nonces import NONCES, Nonces


def test_no_nonce_comes_twice() -> None:
    """Nor after those taken together are used up, nor from another one's; each is 32 hex digits, as ids take them."""
    one, other = Nonces(), Nonces()
    made = [each() for _ in range(2 * NONCES + 1) for each in (one, other)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in made)
