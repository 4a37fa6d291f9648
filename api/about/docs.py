"""/openapi.json, /docs and /docs/errors: what the API says about itself, and / which leads to where one begins.

The pages load nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from pathlib import Path

import msgspec

from api.about.error_words import WORDS
from api.about.openapi import document
from api.http.problem import every_error
from api.route import Answer, Call, Handler, Route, Who
from domain.errors import MsgxcError

GROUP = "operation"
TEMPORARILY = 307
"""There is a sandbox only as long as a channel has no provider."""
_PAGE = Path(__file__).with_name("docs.html")
_CODE = re.compile(r"`([^`]+)`")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def routes(
    served: tuple[Route, ...], *, version: str, sockets: tuple[Route, ...] = (), home: str = "/docs"
) -> tuple[Route, ...]:
    """The routes of the documents, which describe themselves as well. home: where / leads."""
    page = _PAGE.read_text(encoding="utf-8")
    answers: dict[str, Answer] = {}

    async def openapi(_: Call[None, None]) -> Answer:
        return answers["openapi"]

    async def docs(_: Call[None, None]) -> Answer:
        return _html(page)

    async def begin(_: Call[None, None]) -> Answer:
        return Answer(b"", status=TEMPORARILY, location=home, media_type="text/plain")

    async def errors(_: Call[None, None]) -> Answer:
        return _html(_errors_page(page))

    own = (
        _route(
            "/", begin, "Leads to the sandbox where there is one, else to /docs.", "text/plain", TEMPORARILY
        ),
        _route("/openapi.json", openapi, "This document.", "application/json"),
        _route("/docs", docs, "The API as a page to read and try.", "text/html"),
        _route("/docs/errors", errors, "Every error, its code and what to do about it.", "text/html"),
    )
    described = msgspec.json.encode(document((*served, *own), version=version, sockets=sockets))
    answers["openapi"] = Answer(described)
    return own


def _html(page: str) -> Answer:
    policy = content_policy(page)
    headers = ((b"content-security-policy", policy.encode()), (b"referrer-policy", b"no-referrer"))
    return Answer(page.encode(), media_type="text/html; charset=utf-8", headers=headers)


def content_policy(page: str) -> str:
    """A policy that lets run what stands in the page, and nothing else."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(hashes['script']) or chr(39) + 'none' + chr(39)}; "
        f"style-src {' '.join(hashes['style'])}"
    )


def _errors_page(page: str) -> str:
    """The errors in the same dress; no script."""
    style = next(content for kind, content in _INLINE.findall(page) if kind == "style")
    # Several errors may share a code, which is what callers see; the first is the one that the others are made from.
    by_code = {error.code: error for error in reversed(every_error())}
    rows = "".join(_article(by_code[code]) for code in dict.fromkeys(error.code for error in every_error()))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>MSGXC errors</title>'
        f"<style>{style}</style><main><h1>Errors</h1>"
        f'<p>Each failure is a problem (RFC 9457) with one of these codes. <a href="/docs">The API</a></p>{rows}'
        "</main></html>"
    )


def _article(error: type[MsgxcError]) -> str:
    words = WORDS[error.code]
    again = "The same call may succeed later." if error.retryable else "The same call fails again."
    return (
        f'<article id="{escape(error.code)}"><h2><code>{escape(error.code)}</code> {error.status}</h2>'
        f"<p>{escape(error.title)}. {_html_of(words.meaning)}</p><p>{_html_of(words.advice)} {again}</p></article>"
    )


def _html_of(words: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(words, quote=False))


def _route(path: str, handler: Handler, summary: str, media_type: str, status: int = 200) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=handler,
        who=Who.ANYONE,
        summary=summary,
        group=GROUP,
        answer=dict if media_type == "application/json" else str,
        media_type=media_type,
        statuses=(status,),
        location=status == TEMPORARILY,
    )
