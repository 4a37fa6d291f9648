"""Which Cassandra, and who we are to it; what it says of those who may not in. Imports no driver."""

from __future__ import annotations

from pathlib import Path

import msgspec

from domain.errors import Unavailable


class CassandraConfig(msgspec.Struct, frozen=True, kw_only=True):
    """hosts: (host, port). dc "": nodes of any data centre. user "": no log-in. ca: its certificate turns TLS on.

    rf: replicas in the data centre; over 1, reads and writes are by LOCAL_QUORUM.
    """

    hosts: tuple[tuple[str, int], ...]
    keyspace: str = "msgxc"
    user: str = ""
    password: str = ""
    dc: str = ""
    rf: int = 1
    ca: Path | None = None

    def __repr__(self) -> str:
        return f"CassandraConfig(hosts={self.hosts}, keyspace={self.keyspace!r}, rf={self.rf})"


class NotLetIn(Unavailable):
    """A node is there, and refuses the user or the password, or asks for them."""


class WrongDataCentre(Unavailable):
    """Nodes are there, and none of them is of the data centre that we are told to use. there: those that have any."""

    def __init__(self, there: tuple[str, ...]) -> None:
        super().__init__("the read store has no such data centre")
        self.there = there


class NotTrusted(Unavailable):
    """A node is there, but no TLS with it: its certificate is another authority's, or it speaks none.

    why: in OpenSSL's words, for whoever can mend it; a caller of the API would take them for its own connection's.
    """

    def __init__(self, why: str) -> None:
        super().__init__("the read store cannot be reached securely")
        self.why = why
