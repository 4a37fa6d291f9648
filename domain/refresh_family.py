"""A refresh family: the refresh tokens that a client's sign-ins have led to, one good at a time.

A token is the family's id, its generation and 32 random bytes; only a hash is kept. Issuing the next one supersedes
the one before, which stays good for a short grace, since the answer with its successor may have been lost. If it is
used later, two hold tokens of one device: one of them is a thief, and the family ends. Nothing here is signed, so no
rotation of keys touches it.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from domain.aggregate import Aggregate, Created
from domain.aggregate import Event as BaseEvent
from domain.errors import Conflict

GRACE = timedelta(seconds=10)
"""How long a superseded token is still good after its successor was issued."""
GENERATIONS_MAX = 100
"""Of one family; then the client gets another, so that reading one never takes long."""
SECRET_BYTES = 32
_ID_BYTES, _GENERATION_BYTES = 16, 4
_TOKEN_CHARACTERS = 70
"""52 bytes in base64url without padding."""

REUSED, FULL, MOVED = "reused", "full", "moved"
"""MOVED: its device went on to another app, where its last token stands for it until it gets one there."""


class RefreshRefused(Conflict):
    """The token is good for nothing any more: a permanent 400, so that no device tries for ever."""

    code, title, status = "refresh-refused", "A refresh token is not good", 400


class RefreshToken(NamedTuple):
    """What a device holds. secret: 32 random bytes."""

    family: UUID
    generation: int
    secret: bytes

    @property
    def text(self) -> str:
        raw = self.family.bytes + self.generation.to_bytes(_GENERATION_BYTES) + self.secret
        return urlsafe_b64encode(raw).rstrip(b"=").decode()

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.secret).hexdigest()

    @classmethod
    def parse(cls, text: str) -> RefreshToken:
        """Raises RefreshRefused for what was never one of ours."""
        if len(text) != _TOKEN_CHARACTERS or not text.isascii():
            raise RefreshRefused("this is no refresh token of ours", field="refreshToken")
        try:
            raw = binascii.a2b_base64(text.translate(_FROM_URL) + "==", strict_mode=True)
        except binascii.Error:
            raise RefreshRefused("this is no refresh token of ours", field="refreshToken") from None
        secret_at = _ID_BYTES + _GENERATION_BYTES
        return cls(UUID(bytes=raw[:_ID_BYTES]), int.from_bytes(raw[_ID_BYTES:secret_at]), raw[secret_at:])


_FROM_URL = str.maketrans("-_+/", "+/!!")


class Issue(NamedTuple):
    """One generation: the hash of its secret, and when it was issued."""

    hash: str
    at: datetime


class RefreshFamily(Aggregate):
    """Of a client, or of a contact where there is no app."""

    TOPIC = "refresh"

    class Event(BaseEvent): ...

    @dataclass(frozen=True, kw_only=True)
    class Opened(Event, Created):
        """The first token's secret has this SHA-256. app "" and client None: an appless contact's."""

        TOPIC = "refresh.opened.v1"
        merchant: str
        app: str
        client: UUID | None
        contact: UUID
        hash: str

        def apply(self, aggregate: RefreshFamily) -> None:
            aggregate.issues = (Issue(self.hash, self.timestamp),)

    @dataclass(frozen=True, kw_only=True)
    class Issued(Event):
        """The next generation, for whoever is signed in now; the one before is superseded."""

        TOPIC = "refresh.issued.v1"
        contact: UUID
        generation: int
        hash: str

        def apply(self, aggregate: RefreshFamily) -> None:
            assert self.generation == aggregate.generation + 1
            aggregate.issues = (*aggregate.issues, Issue(self.hash, self.timestamp))
            aggregate.contact = self.contact

    @dataclass(frozen=True, kw_only=True)
    class Reused(Event):
        """A superseded token was used after its grace: it or its successor is in other hands. None is good any more."""

        TOPIC = "refresh.reused.v1"
        generation: int

        def apply(self, aggregate: RefreshFamily) -> None:
            aggregate.ended, aggregate.ended_at = REUSED, self.timestamp

    @dataclass(frozen=True, kw_only=True)
    class Ended(Event):
        """reason "full": another family goes on for the client; the last token keeps its grace. Else none is good."""

        TOPIC = "refresh.ended.v1"
        reason: str

        def apply(self, aggregate: RefreshFamily) -> None:
            aggregate.ended, aggregate.ended_at = self.reason, self.timestamp

    def __init__(self, merchant: str, app: str, client: UUID | None, contact: UUID, hash: str) -> None:
        self.merchant, self.app, self.client, self.contact = merchant, app, client, contact
        self.issues: tuple[Issue, ...] = ()
        self.ended = ""
        self.ended_at: datetime | None = None

    @property
    def generation(self) -> int:
        """The last that was issued; the first is 1."""
        return len(self.issues)

    @property
    def has_room(self) -> bool:
        return not self.ended and self.generation < GENERATIONS_MAX

    @classmethod
    def open(
        cls,
        *,
        id: UUID,
        at: datetime,
        merchant: str,
        contact: UUID,
        secret: bytes,
        app: str = "",
        client: UUID | None = None,
    ) -> tuple[RefreshFamily, RefreshToken]:
        """The family and its first token."""
        token = RefreshToken(id, 1, secret)
        family: RefreshFamily = cls._open(
            cls.Opened,
            id=id,
            at=at,
            merchant=merchant,
            app=app,
            client=client,
            contact=contact,
            hash=token.hash,
        )
        return family, token

    def issue(self, *, at: datetime, contact: UUID, secret: bytes) -> RefreshToken:
        """The next generation's token; the one before is good for GRACE from now on."""
        assert self.has_room, "an ended or full family issues nothing; open another"
        token = RefreshToken(self.id, self.generation + 1, secret)
        self.trigger_event(
            self.Issued, timestamp=at, contact=contact, generation=token.generation, hash=token.hash
        )
        return token

    def use(self, *, at: datetime, token: RefreshToken) -> bool:
        """Whether the token is good. If not, the family may have ended by this: save it, then refuse."""
        if not self._has_issued(token):
            return False
        if self.ended and self.ended != FULL:
            return False
        superseded_at = self._superseded_at(token.generation)
        if superseded_at is None or at - superseded_at <= GRACE:
            return True
        if not self.ended:
            self.trigger_event(self.Reused, timestamp=at, generation=token.generation)
        return False

    def leads_on(self, *, at: datetime, token: RefreshToken, superseded_at: datetime | None) -> bool:
        """Whether the token is good where the device moved to. superseded_at: when it got the first one there."""
        if self.ended != MOVED or not self._has_issued(token):
            return False
        is_last = token.generation == self.generation
        ends = superseded_at if is_last else self.issues[token.generation].at
        return ends is None or at - ends <= GRACE

    def end(self, *, at: datetime, reason: str) -> None:
        if not self.ended:
            self.trigger_event(self.Ended, timestamp=at, reason=reason)

    def _has_issued(self, token: RefreshToken) -> bool:
        if token.family != self.id or not 1 <= token.generation <= self.generation:
            return False
        return hmac.compare_digest(token.hash, self.issues[token.generation - 1].hash)

    def _superseded_at(self, generation: int) -> datetime | None:
        """When the next token was issued, by this family or, once it is full, by another; None for the last."""
        if generation < self.generation:
            return self.issues[generation].at
        return self.ended_at
