"""Apps, merchants and contacts: asked of the services that the settings name, of our own log where they name none."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client.registry import Collector

from commands.bus import Bus
from domain.ids import Ids
from infra.apps.directory import FollowedApps
from infra.apps.merchants import ModelledMerchants, NotedMerchants, NotingApps, WithApps
from infra.apps.shared import SharedApps
from infra.emarsys_http.apps import HttpApps
from infra.emarsys_http.calls import ServiceCalls
from infra.emarsys_http.contacts import HttpContacts
from infra.emarsys_http.merchants import HttpMerchants
from infra.emarsys_http.service import Service
from infra.emarsys_http.settings import ServiceSettings
from infra.log.log import JetStreamLog
from infra.lookups.own_directories import OwnApps, OwnContacts, OwnMerchants
from infra.settings import Settings
from processes.directories import AppMetadata, ContactData, Merchants
from projections.port import ReadModels


@dataclass(frozen=True, slots=True)
class Directories:
    """apps: its `run` has to be running (cli.serve.roles.following_apps), else each look is a look-up.

    collectors: their figures, for /metrics.
    """

    apps: FollowedApps
    collectors: Sequence[Collector]
    contact_data: ContactData
    merchants: Merchants


def directories(
    settings: Settings,
    log: JetStreamLog,
    ids: Ids,
    bus: Bus,
    models: ReadModels,
    opened: contextlib.AsyncExitStack,
) -> Directories:
    """opened: closes what they open."""
    services = settings.services

    made: list[Service] = []

    def service(label: str, given: ServiceSettings) -> Service | None:
        if not given.url:
            return None
        name = f"the {label} service (MSGXC_{label.upper()}_URL)"
        token = given.token.reveal() if given.token is not None else ""
        ca_file = str(settings.ca_file) if settings.ca_file is not None else None
        made.append(Service(name, given.url, label=label, token=token, ca_file=ca_file))
        opened.push_async_callback(made[-1].aclose)
        return made[-1]

    contacts = service("contacts", services.contacts)
    apps = service("apps", services.apps)
    merchants = service("merchants", services.merchants)
    source: AppMetadata = OwnApps(log.events, ids)
    with_apps: WithApps = ModelledMerchants(models)
    if apps:
        with_apps = noted = NotedMerchants(log.js)
        source = NotingApps(HttpApps(apps, ids), noted)
    connection = log.js.connection
    followed = FollowedApps(log, source, SharedApps(log.js), ids, on_reconnect=connection.on_reconnect)
    return Directories(
        apps=followed,
        collectors=(followed.lookups, ServiceCalls(made)),
        contact_data=HttpContacts(contacts) if contacts else OwnContacts(bus),
        merchants=HttpMerchants(merchants, with_apps) if merchants else OwnMerchants(with_apps),
    )
