"""What devices' headers have proved, remembered: a device says the same with nearly every call.

Owns how long that may be believed: until the signing keys change in any way, or the contact token among the headers
ends; and who was asked for a newer one. Verifies nothing itself.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

import msgspec

from api.emarsys.port import SigningKeySet
from api.emarsys.tokens import ClientState, ContactToken, Tokens

PROOFS_MAX = 10_000
"""About 30 MB, headers included; the oldest is forgotten first."""

ASKED_MAX = 50_000
"""Ended contact tokens, about 8 MB; the oldest is forgotten first, and asked about again."""
ASK_AGAIN_S = 86_400
"""A device comes back with an ended token when its refresh failed: for want of a network, or for good."""

Said = tuple[str, bytes, bytes | None, bytes | None]
"""The app's code, and what stood in the headers: client id, client state, contact token (where it is looked at)."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """state: this app's and this client's, verified; state_text: as it came; held: the same under the newest key, where
    it came under another: for every answer. What the device has already it is not given back: native SDKs store a state
    from any answer, and a slow one would bring back what was so before a sign-in. former: a state of another app, which
    the device comes from.

    contact: the client's own contact token, verified, where the route looks at it. is_outdated: there is one beside the
    state that has ended.
    """

    client_id: str
    state: ClientState | None = None
    state_text: str = ""
    former: ClientState | None = None
    contact: ContactToken | None = None
    is_outdated: bool = False
    held: bytes = b""

    @property
    def client(self) -> UUID | None:
        """The client that it has proved to be."""
        if self.state is not None:
            return self.state.client
        return self.contact.client if self.contact is not None else None


class Proofs:
    """For one process."""

    def __init__(self, *, proofs_max: int = PROOFS_MAX, asked_max: int = ASKED_MAX) -> None:
        self._max, self._asked_max = proofs_max, asked_max
        self._generation: SigningKeySet | None = None
        self._known: dict[Said, Proof] = {}
        self._asked: dict[bytes, float] = {}

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

    def asks_anew(self, contact: bytes, now_s: float) -> bool:
        """Whether a device is to be asked for another contact token than this one, which has ended: once a day."""
        digest = hashlib.sha256(contact).digest()
        asked_s = self._asked.get(digest)
        if asked_s is not None and now_s - asked_s < ASK_AGAIN_S:
            return False
        self._asked.pop(digest, None)
        if len(self._asked) >= self._asked_max:
            del self._asked[next(iter(self._asked))]
        self._asked[digest] = now_s
        return True

    def __len__(self) -> int:
        return len(self._known)

    def _of(self, tokens: Tokens) -> dict[Said, Proof]:
        generation = tokens.generation()
        if generation is not self._generation:
            # Any change may be a revocation, and what is handed back is to be of the newest key.
            self._generation, self._known = generation, {}
        return self._known
