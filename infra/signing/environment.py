"""Signing keys in the environment: fixed as long as the process lives; the first signs."""

from __future__ import annotations

from infra.signing.key import KeySet, key_set, parse

SOURCE = "MSGXC_SDK_KEYS"


class FixedSigningKeys:
    """api.emarsys.port.SigningKeys over a JWKS, a PEM or a secret. Raises BadKey."""

    def __init__(self, content: str) -> None:
        self._keys = key_set(parse(content.encode(), source=SOURCE), source=SOURCE)

    def current(self) -> KeySet:
        return self._keys
