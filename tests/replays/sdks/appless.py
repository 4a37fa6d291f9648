"""The Android SDK, 3.11.0, of an app that has a merchant id and no application code: contacts alone.

Followed (emartech/android-emarsys-sdk at 3.11.0): predict/request/PredictMultiIdRequestModelFactory.kt,
predict/DefaultPredictInternal.kt, emarsys/mapper/MerchantIdHeaderMapper.kt,
mobile-engage/request/mapper/ContactTokenHeaderMapper.kt (whose test of the URL's end lets a token ride along here).
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.replays.sdks.surprises import Surprises
from tests.replays.sdks.wire import Answer, Wire

PATH = "/v3/contact-token"


class Appless:
    def __init__(self, merchant: str, *, wire: Wire, surprises: Surprises) -> None:
        self.merchant, self.wire, self.surprises = merchant, wire, surprises
        self.client_id = str(uuid4())
        self.contact_token: str | None = None
        self.refresh_token: str | None = None

    async def set_contact(self, field_id: int, value: str) -> None:
        await self._send("POST", {"contactFieldId": field_id, "contactFieldValue": value})

    async def set_authenticated_contact(self, field_id: int, open_id_token: str) -> None:
        await self._send("POST", {"contactFieldId": field_id, "openIdToken": open_id_token})

    async def refresh(self) -> None:
        await self._send("POST", {"refreshToken": self.refresh_token})

    async def clear_contact(self) -> None:
        await self._send("DELETE", None)

    async def _send(self, method: str, body: dict[str, Any] | None) -> Answer:
        headers = {
            "Content-Type": "application/json",
            "X-EMARSYS-SDK-VERSION": "3.11.0",
            "X-EMARSYS-SDK-MODE": "production",
            "X-Request-Order": "1",
            "X-Client-Id": self.client_id,
            "X-Merchant-Id": self.merchant,
        }
        if self.contact_token is not None:
            headers["X-Contact-Token"] = self.contact_token
        answer = await self.wire.send(method, PATH, headers, body)
        if not answer.is_success:
            self.surprises.add(f"dropped {method} {PATH}: {answer.status}")
        told = answer.json() or {}
        self.contact_token = told.get("contactToken", self.contact_token)
        self.refresh_token = told.get("refreshToken", self.refresh_token)
        return answer
