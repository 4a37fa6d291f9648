"""What devices' headers have proved, remembered: a device says the same with nearly every call.

Owns how long that may be believed: until the signing keys change in any way, or the contact token among the headers
ends. Verifies nothing itself.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from api.emarsys.port import SigningKeySet
from api.emarsys.tokens import ClientState, ContactToken, Tokens

PROOFS_MAX = 10_000
"""About 30 MB, headers included; the oldest is forgotten first."""

Said = tuple[str, bytes, bytes | None, bytes | None]
"""The app's code, and what stood in the headers: client id, client state, contact token (where it is looked at)."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """state: this app's and this client's, verified; state_text: as it came; held: the same under the newest key, where
    it came under another: for every answer. What the device has already it is not given back: native SDKs store a state
    from any answer, and a slow one would bring back what was so before a sign-in. former: a state of another app, which
    the device comes from.

    contact: the client's own contact token, verified, where the route looks at it.
    """

    client_id: str
    state: ClientState | None = None
    state_text: str = ""
    former: ClientState | None = None
    contact: ContactToken | None = None
    held: bytes = b""

    @property
    def client(self) -> UUID | None:
        """The client that it has proved to be."""
        if self.state is not None:
            return self.state.client
        return self.contact.client if self.contact is not None else None


class Proofs:
    """For one process."""

    def __init__(self, *, proofs_max: int = PROOFS_MAX) -> None:
        self._max = proofs_max
        self._generation: SigningKeySet | None = None
        self._known: dict[Said, Proof] = {}

    def find(self, tokens: Tokens, said: Said, now_s: float) -> Proof | None:
        proof = self._of(tokens).get(said)
        if proof is None or (proof.contact is not None and proof.contact.expires_at_s <= now_s):
            return None
        return proof

    def keep(self, tokens: Tokens, said: Said, proof: Proof) -> None:
        known = self._of(tokens)
        known.pop(said, None)
        if len(known) >= self._max:
            del known[next(iter(known))]
        known[said] = proof

    def __len__(self) -> int:
        return len(self._known)

    def _of(self, tokens: Tokens) -> dict[Said, Proof]:
        generation = tokens.generation()
        if generation is not self._generation:
            # Any change may be a revocation, and what is handed back is to be of the newest key.
            self._generation, self._known = generation, {}
        return self._known
