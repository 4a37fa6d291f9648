"""What every answer has: a request id, security headers, CORS where it is set, problems for all that goes wrong."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

from api.parts import Settings
from api.port import Health
from domain.errors import Unavailable
from tests.memory.site import EVER_S, Site, site, token


async def test_a_request_id_comes_back_and_goes_into_the_log() -> None:
    """A good X-Request-Id is kept, in the answer and as correlation of the events; a bad one is replaced."""
    async with site() as it:
        got = await it.call("POST", "/api/v2/threads", {"tid": "a"}, headers={"X-Request-Id": "order-66"})
        assert got.headers["x-request-id"] == "order-66"
        assert [fact.correlation for fact in it.world.facts("EVENTS")] == ["order-66"]
        for bad in ("x" * 200, "a b", "<script>"):
            got = await it.call("GET", "/ping", headers={"X-Request-Id": bad})
            assert got.headers["x-request-id"] != bad
            assert len(got.headers["x-request-id"]) == 32


async def test_every_answer_has_the_security_headers() -> None:
    """Answers, problems, pages: nothing is sniffed, framed, cached or told to others."""
    async with site() as it:
        for path in ("/ping", "/nowhere", "/docs", "/api/v2/threads"):
            got = await it.call("GET", path, by=None)
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in got.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in got.headers["content-security-policy"]


async def test_unknown_paths_are_404_and_wrong_methods_405_with_allow() -> None:
    """Each is a problem with a stable code, the path and the request's id."""
    async with site() as it:
        for path in (
            "/index.html",
            "/api/v2",
            "/api/v2/linkedin",
            "/api/v2/threads/",
            "/api/v2/connect/x/y",
            "/%00",
        ):
            got = await it.call("GET", path)
            problem = got.json()
            assert (got.status_code, problem["code"], problem["status"]) == (404, "not-found", 404), path
            assert problem["request_id"] == got.headers["x-request-id"]
            assert problem["type"] == "/docs/errors#not-found"
        got = await it.call("PATCH", "/api/v2/threads")
        assert (got.status_code, got.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
        got = await it.call("GET", "/api/v2/publish")
        assert (got.status_code, got.headers["allow"]) == (405, "OPTIONS, POST")
        got = await it.call("DELETE", "/api/v2/stream")
        assert (got.status_code, got.json()["code"]) == (405, "method-not-allowed")
        got = await it.call("HEAD", "/ping")
        assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "6")


async def test_an_unexpected_error_is_a_problem_that_tells_nothing() -> None:
    """500 with the request's id and the usual headers; the reason goes to the log alone."""
    async with site(strict=False, settings=Settings(cors_origins=("https://shop.example",))) as it:
        it.world.own.store.fail.append(RuntimeError("secret detail"))  # type: ignore[arg-type]
        got = await it.call(
            "POST", "/api/v2/threads", {"tid": "a"}, headers={"Origin": "https://shop.example"}
        )
        assert got.status_code == 500
        problem = got.json()
        assert (problem["code"], problem["request_id"]) == ("internal", got.headers["x-request-id"])
        assert "secret" not in got.text
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"{", "body", "not JSON"),
        (b"\xff\xfe", "body", "not JSON"),
        (b'{"opts":' * 5_000, "body", "depth"),
        (b"[]", "body", "expected an object, got a list"),
        (b"{}", "msg", "msg is missing"),
        (b"", "msg", "msg is missing"),
        (b'{"msg":"hello"}', "tid", "tid is missing"),
        (b'{"tid":"a","msg":"h"}', "msg", "at least 2 characters"),
        (b'{"tid":"a","msg":7}', "msg", "expected a string, got a whole number"),
        (b'{"tid":"","msg":"hello"}', "tid", "at least 1 character"),
        (b'{"tid":"a","msg":"hello","opts":[]}', "opts", "expected a string, an object or null, got a list"),
        (b'{"tid":"a","msg":"hello","sys":"x"}', "sys", "expected true, false or null, got a string"),
        (
            b'{"tid":"a","msg":"hello","scheduled":true}',
            "scheduled",
            "expected a number, a time or null, got",
        ),
        (b'{"tid":"a","msg":"hello","opts":{"urgency":9}}', "opts.urgency", "1 (very low) to 4"),
        (b'{"tid":"a","msg":"hello","opts":{"ttl":"long"}}', "opts.ttl", "whole number"),
        (b'{"tid":"a","msg":"hello","opts":{"ttl":-1}}', "opts.ttl", "seconds"),
        (b'{"tid":"a","msg":"hello","opts":{"sound":7}}', "opts.sound", "an object as Apple has it"),
        (b'{"tid":"a","msg":"hello","opts":{"sound":["a"]}}', "opts.sound", "the name of a file"),
        (b'{"tid":"a","msg":"hello","scheduled":"soon"}', "scheduled", "ISO 8601 with a zone"),
        (b'{"tid":"a","msg":"hello","scheduled":"2030-01-01T00:00:00"}', "scheduled", "time zone"),
        (b'{"tid":"a","msg":"hello","scheduled":1e300}', "scheduled", "1970"),
        (b'{"tid":"a","msg":"hello","mtypes":["ws","%"]}', "mtypes", "no channel"),
    ],
)
async def test_a_bad_body_names_the_field_and_what_would_be_right(
    body: bytes, field: str, words: str
) -> None:
    """422 with the field and a sentence, never a 500 and never `false`."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "a"}, by="ann")
        got = await it.call("POST", "/api/v2/publish", body)
        assert (got.status_code, got.json()["field"]) == (422, field), got.text
        assert words in got.json()["detail"]


async def said_of(
    it: Site, method: str, path: str, fields: list[tuple[str, str]], body: bytes
) -> httpx.Response:
    """By Ann, with further fields, some of them perhaps twice."""
    ann = ("Authorization", f"Bearer {token('ann')}")
    return await it.client.request(method, path, headers=[ann, *fields], content=body)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v2/publish", "Authorization"),
        ("/api/v2/publish", "Idempotency-Key"),
        ("/api/v2/stream", "Authorization"),
        ("/api/v2/clients", "Authorization"),
    ],
)
async def test_a_field_that_says_who_or_which_is_there_once(path: str, field: str) -> None:
    """A second one is refused, even if it says the same: a proxy may have believed either."""
    method = "GET" if path.endswith(("stream", "clients")) else "POST"
    values = {"Authorization": f"Bearer {token('ann')}", "Idempotency-Key": "once"}
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "a"}, by="ann")
        twice = [(field, values[field])] * (2 if field == "Idempotency-Key" else 1)
        got = await said_of(it, method, path, twice, b'{"tid":"a","msg":"hello"}')
        assert (got.status_code, got.json()["code"]) == (400, "field-twice"), got.text
        assert got.json()["field"] == field
        assert len(it.world.facts("EVENTS")) == 1


async def test_other_fields_may_be_there_twice() -> None:
    """As proxies have it: nothing here depends on them."""
    async with site() as it:
        twice = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-For", "192.0.2.8"), ("Content-Encoding", "")]
        assert (await said_of(it, "GET", "/api/v2/clients", twice, b"")).status_code == 200


@pytest.mark.parametrize("encodings", [["gzip"], ["identity", "br"], ["GZIP"], ["identity, gzip"]])
async def test_an_encoded_body_is_refused(encodings: list[str]) -> None:
    """415 rather than words about JSON that the caller never wrote."""
    async with site() as it:
        fields = [("Content-Encoding", each) for each in encodings]
        got = await said_of(it, "POST", "/api/v2/publish", fields, gzip.compress(b"{}"))
        assert (got.status_code, got.headers["accept-encoding"]) == (415, "identity"), got.text
        assert (got.json()["code"], got.json()["field"]) == ("unsupported-encoding", "Content-Encoding")


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_body_that_is_not_encoded_may_say_so(encoding: str) -> None:
    """`identity` is no encoding."""
    async with site() as it:
        got = await said_of(it, "POST", "/api/v2/threads", [("Content-Encoding", encoding)], b'{"tid":"a"}')
        assert got.status_code == 201, got.text


async def test_bodies_over_256_kib_are_refused_however_they_come() -> None:
    """413 by the length that is announced, and by counting when none is; just under it is read."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "a"}, by="ann")
        size = 256 * 1024
        got = await it.call("POST", "/api/v2/publish", b" " * (size + 1))
        assert (got.status_code, got.json()["code"]) == (413, "too-large")
        assert got.headers["connection"] == "close"

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(300):
                yield b" " * 1024

        headers = {"Authorization": f"Bearer {token('ann')}"}
        got = await it.client.post("/api/v2/publish", content=pieces(), headers=headers)
        assert got.status_code == 413
        body = b'{"tid":"a","msg":"hello"}'
        got = await it.call("POST", "/api/v2/publish", body + b" " * (size - len(body)))
        assert got.status_code == 200


async def test_the_rate_is_per_token_and_says_when_to_come_back() -> None:
    """Over the quota: 429 with Retry-After and the RateLimit fields; another token is not concerned."""
    async with site(settings=Settings(rate_quota=4, rate_window_s=EVER_S)) as it:
        headers = {"Authorization": f"Bearer {token('ann')}"}
        for left in (None, None, 1, 0):
            got = await it.call("GET", "/api/v2/threads", by=None, headers=headers)
            assert got.status_code == 200
            # The fields come once half the quota is used.
            assert ("ratelimit" in got.headers) == (left is not None)
            if left is not None:
                assert got.headers["ratelimit"].startswith(f'"token";r={left};t=')
                assert got.headers["ratelimit-policy"] == f'"token";q=4;w={EVER_S}'
        got = await it.call("GET", "/api/v2/threads", by=None, headers=headers)
        assert (got.status_code, got.json()["code"], got.json()["retryable"]) == (429, "too-many", True)
        assert 1 <= int(got.headers["retry-after"]) <= EVER_S
        assert got.headers["ratelimit"].startswith('"token";r=0;')
        assert (await it.call("GET", "/api/v2/threads", by="bob")).status_code == 200
        assert (await it.call("GET", "/ping", by=None)).status_code == 200


async def test_cors_is_for_the_origins_that_are_set() -> None:
    """A known origin may read answers and problems and gets its preflight; others get nothing of it."""
    async with site(settings=Settings(cors_origins=("https://shop.example",))) as it:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        ours = {"Origin": "https://shop.example"}
        got = await it.call("OPTIONS", "/api/v2/publish", by=None, headers=ours | asked)
        assert got.status_code == 204
        assert got.headers["access-control-allow-origin"] == "https://shop.example"
        assert "POST" in got.headers["access-control-allow-methods"]
        assert got.headers["access-control-allow-headers"] == "authorization"
        for path in ("/ping", "/nowhere"):
            got = await it.call("GET", path, headers=ours)
            assert got.headers["access-control-allow-origin"] == "https://shop.example"
            assert "Location" in got.headers["access-control-expose-headers"]
            assert got.headers["vary"] == "Origin"
        theirs = {"Origin": "https://evil.example"}
        for headers in (theirs, theirs | asked):
            got = await it.call("OPTIONS", "/api/v2/publish", by=None, headers=headers)
            assert "access-control-allow-origin" not in got.headers
    async with site(settings=Settings(cors_origins=("*",))) as it:
        got = await it.call("GET", "/ping", headers=theirs)
        assert got.headers["access-control-allow-origin"] == "https://evil.example"
    async with site() as it:
        got = await it.call("GET", "/ping", headers=theirs)
        assert "access-control-allow-origin" not in got.headers


async def test_the_access_log_names_routes_and_no_secrets() -> None:
    """The pattern of the route, the status and the request's id: no token, path, query or body."""
    async with site(settings=Settings(access_log="all")) as it:
        with capture_logs() as logs:
            await it.call("PUT", "/api/v2/contacts/ann@example.org", {"email": "a@b.org"}, role="admin")
            await it.call("GET", "/api/v2/threads?cursor=secret-cursor")
        requests = [line for line in logs if line["event"] == "http_request"]
        assert [(line["method"], line["route"], line["status"]) for line in requests] == [
            ("PUT", "/api/v2/contacts/{uid}", 201),
            ("GET", "/api/v2/threads", 422),
        ]
        assert not any(secret in str(logs) for secret in ("ann@", "a@b", "secret", "Bearer", "eyJ"))
    async with site() as it:
        with capture_logs() as logs:
            await it.call("GET", "/ping")
            await it.call("GET", "/nowhere")
        assert [line["status"] for line in logs if line["event"] == "http_request"] == [404]


class Part:
    """api.port.Probe that a test sets."""

    def __init__(self, name: str, *, ok: bool = True, waits: bool = False) -> None:
        self.name, self.ok, self.waits = name, ok, waits

    async def __call__(self) -> Health:
        if self.waits:
            await asyncio.Event().wait()
        return Health(self.name, self.ok, "" if self.ok else "gone", {"lag": 7.0})


async def test_readiness_is_that_of_every_part() -> None:
    """/readyz lists the parts, and is 503 when one fails or does not answer; /livez looks at this process alone."""
    log, store = Part("log"), Part("read-models")
    async with site(probes=(log, store)) as it:
        ready = await it.call("GET", "/readyz", by=None)
        assert (ready.status_code, ready.json()["ok"]) == (200, True)
        log.ok = False
        ready = await it.call("GET", "/readyz", by=None)
        assert ready.status_code == 503
        assert [part["name"] for part in ready.json()["parts"] if not part["ok"]] == ["log"]
        log.ok, store.waits = True, True
        ready = await it.call("GET", "/readyz", by=None)
        assert [part["name"] for part in ready.json()["parts"] if not part["ok"]] == ["read-models"]
        assert (await it.call("GET", "/livez", by=None)).status_code == 200
        store.waits = False
        figures = (await it.call("GET", "/metrics", by=None)).text
        assert 'msgxc_part_value{part="log",value="lag"} 7.0' in figures
        assert 'msgxc_http_requests_total{method="GET",route="/readyz",status="503"} 2.0' in figures


async def test_the_sandbox_is_served_where_there_is_one() -> None:
    """A mounted application keeps its own headers and gets those it leaves out."""
    page = PlainTextResponse("sandbox", headers={"Content-Security-Policy": "default-src 'self'"})
    async with site(sandbox=page) as it:
        got = await it.call("GET", "/sandbox/anything", by=None)
        assert (got.text, got.headers["content-security-policy"]) == ("sandbox", "default-src 'self'")
        assert got.headers["x-content-type-options"] == "nosniff"
    async with site() as it:
        assert (await it.call("GET", "/sandbox/", by=None)).status_code == 404


async def test_a_log_that_is_away_is_503_and_may_be_tried_again() -> None:
    """Nothing was changed: Retry-After, and `retryable` in the problem."""
    async with site() as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "a"}, by="ann")
        await _fail_next_save(it)
        got = await it.call("POST", "/api/v2/publish", {"tid": "a", "msg": "hello"})
        assert (got.status_code, got.json()["code"], got.json()["retryable"]) == (503, "unavailable", True)
        assert got.headers["retry-after"] == "1"
        assert (await it.call("POST", "/api/v2/publish", {"tid": "a", "msg": "hello"})).status_code == 200


async def _fail_next_save(it: Site) -> None:
    it.world.own.store.fail.append(Unavailable("the log does not answer"))
