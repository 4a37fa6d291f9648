"""The EzOut contract's parts, from the settings: the shops' log, who may come in, who watches; and the RES role."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from uuid import UUID

from api.access.auth import Verifier
from api.ezout.door import Door, FirebaseDoor, JwtDoor, OpenDoor
from api.ezout.firebase import FirebaseVerifier
from api.ezout.hub import ShopHub
from api.ezout.parts import Shops
from cli.bootstrap import Exchange
from cli.wiring.jwks import verifying_keys
from domain.context import Context
from infra.draining import draining
from infra.nats.leases import Lease
from infra.nats.requests import request_bus
from infra.settings import Settings, SettingsError
from infra.supervisor import Role, Stop
from processes.res.service import ResService

if TYPE_CHECKING:
    from infra.firebase import FirebaseRevocations

RES = "res-service"


def shops_of(exchange: Exchange, verifier: Verifier) -> Shops:
    door = make_door(exchange.session.settings, verifier)
    return Shops(log=exchange.shops, hub=ShopHub(exchange.shops, exchange.ids), door=door)


def make_door(settings: Settings, verifier: Verifier) -> Door:
    """By MSGXC_EZOUT_AUTH. Raises SettingsError."""
    match settings.ezout.auth:
        case "none":
            return OpenDoor()
        case "jwt":
            return JwtDoor(verifier)
        case _:
            return FirebaseDoor(_firebase(settings))


def res_service(exchange: Exchange) -> Role:
    """Shops for RES gateways; of all processes that run it, one at a time has the lease to."""
    settings, log = exchange.session.settings, exchange.log
    door = make_door(settings, Verifier(verifying_keys(exchange.session), now_s=time.time))

    async def publish(shop: UUID, body: bytes, topic: str, context: Context, claim: str) -> int:
        return await exchange.shops.publish(shop, body, topic=topic, context=context, claim=claim)

    async def run(stop: Stop) -> None:
        async with request_bus(log.js.connection) as bus:
            await ResService(
                bus=bus,
                lease=Lease(log.js, RES, stop),
                events=draining(log, stop),
                models=exchange.store,
                watermark=exchange.watermark,
                admit=lambda token: door.admit(token, ""),
                publish=publish,
            ).run()

    return Role(RES, run)


def _firebase(settings: Settings) -> FirebaseVerifier:
    from infra.firebase import KEYS_URL, JwksKeys

    ezout = settings.ezout
    return FirebaseVerifier(
        JwksKeys(ezout.firebase_keys_url or KEYS_URL, ca_file=settings.ca_file),
        project=ezout.firebase_project,
        now_s=time.time,
        revocations=_revocations(settings),
    )


def _revocations(settings: Settings) -> FirebaseRevocations | None:
    from infra.firebase import FirebaseRevocations

    path = settings.ezout.firebase_credentials_file
    if path is None:
        return None
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"MSGXC_FIREBASE_CREDENTIALS_FILE: {path} is no service account; write the path of its JSON file"
        ) from error
    return FirebaseRevocations(settings.ezout.firebase_project, account, ca_file=settings.ca_file)
