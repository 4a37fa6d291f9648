"""What devices' headers have proved, remembered: a device says the same with nearly every call.

Owns how long that may be believed: until the signing keys change in any way, or the contact token among the headers
ends; and who was asked for a newer one. Verifies nothing itself.
"""

from __future__ import annotations

import hashlib
import math
from uuid import UUID

import msgspec
from msgspec.structs import force_setattr

from api.emarsys.identity.tokens import ClientState, ContactField, ContactToken, Tokens
from api.emarsys.port import SigningKeySet
from domain.errors import Unauthenticated

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
    state that has ended. refusal: there is one beside it that is good for nothing.

    What follows from these is worked out once, since a proof serves many calls. client: the one that it has proved to
    be. whose: the contact that it belongs to, None: nobody in particular; what the token says, if there is one.
    is_disputed: the state names another contact than the token, and one of them did so before. is_of_nobody_known: an
    anonymous contact's, or nobody's, as the state says; where a contact token names another contact, that one says it
    by `disabled`. counted_as: whose calls it uses up, "": nobody's. until_s: when it is to be proved anew.
    """

    client_id: str
    state: ClientState | None = None
    state_text: str = ""
    former: ClientState | None = None
    contact: ContactToken | None = None
    is_outdated: bool = False
    refusal: Unauthenticated | None = None
    held: bytes = b""
    client: UUID | None = None
    whose: UUID | None = None
    is_disputed: bool = False
    is_of_nobody_known: bool = False
    counted_as: str = ""
    until_s: float = math.inf

    def __post_init__(self) -> None:
        state, token, former = self.state, self.contact, self.former
        if state is None and token is None and former is None:
            return  # Hot path: a new device's
        client = state.client if state is not None else None
        whose = state.contact if state is not None else None
        if token is not None:
            client, whose = client or token.client, token.contact
            force_setattr(self, "until_s", float(token.expires_at_s))
        force_setattr(self, "client", client)
        force_setattr(self, "whose", whose)
        force_setattr(self, "is_disputed", state is not None and state.contact not in (None, whose))
        # Set in any case: a proof that is made of another one has that one's.
        says_state = state is not None and (token is None or token.contact == state.contact)
        is_named = state is not None and isinstance(state.contact_field, ContactField)
        force_setattr(self, "is_of_nobody_known", says_state and not is_named)
        counted = former.client if former is not None else client
        force_setattr(self, "counted_as", counted.hex if counted is not None else "")


class Proofs:
    """For one process."""

    def __init__(self, *, proofs_max: int = PROOFS_MAX, asked_max: int = ASKED_MAX) -> None:
        self._max, self._asked_max = proofs_max, asked_max
        self._generation: SigningKeySet | None = None
        self._known: dict[Said, Proof] = {}
        self._asked: dict[bytes, float] = {}

    def find(self, tokens: Tokens, said: Said, now_s: float) -> Proof | None:
        self._renew(tokens)
        proof = self._known.get(said)
        return proof if proof is not None and proof.until_s > now_s else None

    def keep(self, tokens: Tokens, said: Said, proof: Proof) -> None:
        self._renew(tokens)
        known = self._known
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

    def _renew(self, tokens: Tokens) -> None:
        generation = tokens.generation()
        if generation is not self._generation:
            # Any change may be a revocation, and what is handed back is to be of the newest key.
            self._generation, self._known = generation, {}
