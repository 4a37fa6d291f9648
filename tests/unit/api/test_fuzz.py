"""Whatever the OpenAPI document allows may be sent, and what it forbids: each answer is one that it names."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.openapi import from_dict

from api.parts import Settings
from tests.memory.site import Site, site, token

EXAMPLES = 6
EXAMPLES_LONG = 150
"""Calls per operation and mode."""


def cases(operation: Any, mode: GenerationMode, count: int) -> list[Case]:
    found: list[Case] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


async def send(it: Site, case: Case) -> httpx.Response:
    sent = case.as_transport_kwargs(base_url="http://msgxc")
    headers = {**dict(sent["headers"]), "Authorization": f"Bearer {token('boss', role='admin')}"}
    body = {name: sent[name] for name in ("json", "data", "content") if sent.get(name) is not None}
    if isinstance(body.get("data"), bytes | str):
        body = {"content": body["data"]}
    return await it.client.request(
        sent["method"], sent["url"], params=sent.get("params"), headers=headers, **body
    )


async def wrong_answers(it: Site, count: int) -> list[str]:
    """Answers with a status, a media type or a form that the document does not name."""
    wrong: list[str] = []
    for result in from_dict(await it.ok("GET", "/openapi.json", by=None)).get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]
        for mode in GenerationMode:
            if operation.path == "/api/v2/stream" or (mode is GenerationMode.NEGATIVE and not operation.body):
                continue
            for case in cases(operation, mode, count):
                got = await send(it, case)
                try:
                    operation.validate_response(got)
                    assert str(got.status_code) in operation.responses.status_codes
                    assert mode is GenerationMode.POSITIVE or got.status_code >= 400 or got.json()
                except Exception as error:  # noqa: BLE001  schemathesis raises groups of its own
                    wrong.append(f"{case.method} {case.formatted_path} {got.status_code}: {error!r:.500}")
    return wrong


async def test_every_answer_is_one_that_the_document_names() -> None:
    """Valid and invalid calls of every operation, by an admin: no 500, and every body as described."""
    async with site(settings=Settings(rate_quota=10**9)) as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "news", "openp": True}, by="olga")
        assert await wrong_answers(it, EXAMPLES) == []


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_many_answers_are_ones_that_the_document_names() -> None:
    """The same, far more often."""
    async with site(settings=Settings(rate_quota=10**9)) as it:
        await it.ok("POST", "/api/v2/threads", {"tid": "news", "openp": True}, by="olga")
        assert await wrong_answers(it, EXAMPLES_LONG) == []
