"""Header fields that guard whoever reads an answer of ours: of every answer, whatever gives it."""

from __future__ import annotations

from typing import Final

from api.http.problem import Header

SECURITY: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Pages bring a policy of their own."""
