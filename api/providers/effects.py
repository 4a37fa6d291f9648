"""What a provider's report leads to: a receipt on the log, a channel suppressed or restored, an address doubted.

Every effect can be repeated: a report that comes twice changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from api.parts import Parts
from commands.contacts import DoubtContactAddress, RestoreChannel, SuppressChannel
from domain.contact import OF_ADDRESS
from domain.context import Context
from domain.errors import NotFound
from gateways.feedback import Report
from projections import reach


async def take(parts: Parts, reports: Sequence[Report], *, realms: Sequence[str], context: Context) -> None:
    """Store what the reports lead to. realms: where to look for a person of whom only the address is known.

    Raises Unavailable; the provider comes again, and what was stored before stays.
    """
    for report in reports:
        if report.dedupe in parts.providers.seen:
            continue
        if report.receipt is not None:
            await parts.receipts.take(report.receipt)
        if report.standing:
            for realm, contact in await _people(parts, report, realms):
                await _change(parts, report, contact, msgspec.structs.replace(context, realm=realm))
        parts.providers.seen.add([report.dedupe])


async def _people(parts: Parts, report: Report, realms: Sequence[str]) -> list[tuple[str, UUID]]:
    """Whose standing changes: the contact the message went to, else whoever has the address."""
    if report.contact is not None and report.realm:
        return [(report.realm, report.contact)]
    return [
        (realm, contact)
        for realm in realms
        for contact in await reach.holders(
            parts.models, realm, parts.ids.own_token(realm, report.channel, report.address)
        )
    ]


async def _change(parts: Parts, report: Report, contact: UUID, context: Context) -> None:
    try:
        await parts.bus.execute(_command(report, contact), context)
    except NotFound:
        # An id of ours, signed, and no such contact: a log before a restore. There is nobody to change.
        return


def _command(report: Report, contact: UUID) -> msgspec.Struct:
    by_id = report.contact is not None
    address = report.address if not by_id or report.code in OF_ADDRESS else ""
    channel = report.channel
    match report.standing:
        case "restore":
            return RestoreChannel(contact=contact, channel=channel, address=address, said_at=report.at)
        case "strike":
            return DoubtContactAddress(
                contact=contact,
                channel=channel,
                code=report.code,
                address=report.address,
                report=report.provider_id,
            )
        case _:
            return SuppressChannel(
                contact=contact, channel=channel, code=report.code, address=address, said_at=report.at
            )
