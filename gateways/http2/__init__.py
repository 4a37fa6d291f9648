"""An HTTP/2 client for push providers: many small POSTs to one origin at a fraction of a general client's cost.

What makes it cheap: headers that never change sit in the peer's HPACK table and cost a byte each; the frames of
one loop tick leave in one write; we announce an empty table of our own, so an answer's status 200 is one byte and
needs no decoding; a slice of requests has one future and one timer. What it leaves out, because no push provider
uses it: server push, priorities, methods other than POST, request trailers.

    frames.py      the wire: frame and integer encodings, and a reader that checks them
    headers.py     HPACK for requests (ours) and answers (the hpack library)
    batch.py       a slice of requests and its results
    sender.py      a connection's way out: windows, limits, one write per tick
    connection.py  one connection: streams, answers, keepalive, its end
    client.py      one origin: connections opened, watched and replaced; the queue in front of them
    dial.py        DNS, TCP, TLS and ALPN
"""

from gateways.http2.client import Http2Transport
from gateways.http2.connection import Keepalive

__all__ = ["Http2Transport", "Keepalive"]
