"""An HTTP/1.1 client for providers whose requests are few and large, or that speak nothing newer.

A package like http2/, so that looking for channels does not import it.
"""

from gateways.http1.client import Http1Transport

__all__ = ["Http1Transport"]
