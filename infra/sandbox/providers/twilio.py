"""Twilio's Messages resource, on its own paths and with its own words, and the phones behind it.

Owns POST and GET of /2010-04-01/Accounts/{sid}/Messages.json, GET of one message, opt-outs (STOP, START), and the
signature of its callbacks. Twilio has no field for the exchange's message id, so that travels as `message_id` in the
StatusCallback's query.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import msgspec

from infra.sandbox.books import Books, Entry, Item
from infra.sandbox.desk import Answer, Request, Verdict

E164 = re.compile(r"\+[1-9]\d{6,14}")
SENDER = re.compile(r"\+?\d{3,15}|[A-Za-z0-9 ]{1,11}|MG[0-9a-f]{32}")
BODY_CHARACTERS_MAX = 1_600
PAGE_MAX = 1_000
ACCOUNT_PATH = re.compile(r"/2010-04-01/Accounts/([^/]+)/Messages(?:/([^/]+))?\.json")

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})

MESSAGES = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "Internal Server Error",
    21211: "The 'To' number {to} is not a valid phone number.",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number is not a valid, message-capable Twilio phone number",
    21609: "Invalid StatusCallback",
    21610: "Attempt to send to unsubscribed recipient",
    21612: "Message cannot be sent with the current combination of 'To' ({to}) and/or 'From' parameters",
    21614: "'To' number: {to}, is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit",
    21659: "The 'From' number is not a Twilio phone number or short code country mismatch",
    21660: "Mismatch between the 'From' number and the account",
}
STATUS_OF = {20003: 401, 20404: 404, 20429: 429, 20500: 500}
CODE_OF = {400: 21211, 401: 20003, 404: 20404, 429: 20429}
JSON = (("content-type", "application/json;charset=utf-8"),)


class Twilio:
    """opted_out: numbers that said STOP, kept by the sandbox."""

    name = "twilio"
    names: tuple[str, ...] = ("sms", "twilio")
    body_bytes_max = 65_536

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        sender: str,
        opted_out: set[str],
        books: Books,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sid, self._token, self._sender, self._books = account_sid, auth_token, sender, books
        self.opted_out, self._clock = opted_out, clock

    def judge(self, request: Request) -> Verdict:
        if request.method == "GET":
            return self._look_up(request)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        sid = "SM" + secrets.token_hex(16)
        entry = _entry(form, sid)
        code = self._fault(request, form)
        if code:
            return Verdict(self._error(code, form), (entry,), (entry.address,))
        now = self._clock()
        resource = self._resource(sid, entry, now, status="queued")
        return Verdict(Answer(201, msgspec.json.encode(resource), JSON), (entry,), (entry.address,))

    def refusal(self, status: int, reason: str, address: str = "") -> Answer:
        code = int(reason) if reason.isdigit() else CODE_OF.get(status, 20500)
        known = reason.isdigit() or not reason
        message = _message(code, address, reason or "Unknown") if known else reason
        return _error_body(status, code, message)

    def signature(self, url: str, form: dict[str, str]) -> str:
        """X-Twilio-Signature: HMAC-SHA1 over the URL and the sorted parameters."""
        words = url + "".join(name + form[name] for name in sorted(form))
        made = hmac.digest(self._token.encode(), words.encode(), hashlib.sha1)
        return base64.b64encode(made).decode()

    async def opt_out(self, cell: str, *, out: bool) -> None:
        """The person said STOP (or START): what is sent there is refused with 21610; kept over restarts."""
        await self._books.keep("opt-out", cell, out)
        (self.opted_out.add if out else self.opted_out.discard)(cell)

    def status(self, item: Item, status: str, error_code: int | None) -> dict[str, str]:
        """The form of a status callback."""
        form = {
            "AccountSid": self._sid,
            "ApiVersion": "2010-04-01",
            "From": item.sender,
            "MessageSid": item.provider_id,
            "MessageStatus": status,
            "SmsSid": item.provider_id,
            "SmsStatus": status,
            "To": item.address,
        }
        return form if error_code is None else {**form, "ErrorCode": str(error_code)}

    def inbound(self, cell: str, text: str) -> dict[str, str]:
        """The form of a message from a phone to us."""
        sid = "SM" + secrets.token_hex(16)
        return {
            "AccountSid": self._sid,
            "ApiVersion": "2010-04-01",
            "Body": text,
            "From": cell,
            "MessageSid": sid,
            "NumMedia": "0",
            "SmsSid": sid,
            "SmsStatus": "received",
            "To": self._sender,
        }

    def _fault(self, request: Request, form: dict[str, str]) -> int | None:
        """The code of what is wrong, None: nothing."""
        if fault := self._denied(request):
            return fault
        to, sender = form.get("To", ""), form.get("From", "") or form.get("MessagingServiceSid", "")
        faults = (
            (request.method != "POST", 20404),
            (not to, 21604),
            (not E164.fullmatch(to), 21211),
            (not sender, 21603),
            (not SENDER.fullmatch(sender), 21606),
            (not form.get("Body") and not form.get("MediaUrl"), 21602),
            (len(form.get("Body", "")) > BODY_CHARACTERS_MAX, 21617),
            (not _is_callback(form.get("StatusCallback", "https://x")), 21609),
            (to in self.opted_out, 21610),
        )
        return next((code for wrong, code in faults if wrong), None)

    def _denied(self, request: Request) -> int | None:
        path = ACCOUNT_PATH.fullmatch(request.path)
        if not path:
            return 20404
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        try:
            given = base64.b64decode(credential, validate=True)
        except binascii.Error:
            return 20003
        wanted = f"{self._sid}:{self._token}".encode()
        if scheme.lower() != "basic" or not hmac.compare_digest(given, wanted) or path[1] != self._sid:
            return 20003
        return None

    def _look_up(self, request: Request) -> Verdict:
        if code := self._denied(request):
            return Verdict(self._error(code, {}), unbooked=True)
        path = ACCOUNT_PATH.fullmatch(request.path)
        assert path, "checked by _denied"
        number = path[2]

        async def inquiry() -> Answer:
            return await (self._one(number) if number else self._list(request.query))

        return Verdict(Answer(200), unbooked=True, inquiry=inquiry)

    async def _one(self, sid: str) -> Answer:
        found = await self._books.find("provider_id = ? AND provider = 'twilio' AND arrived = 1", (sid,))
        if not found:
            return self._error(20404, {})
        return Answer(200, msgspec.json.encode(self._resource_of(found[0])), JSON)

    async def _list(self, query: str) -> Answer:
        wanted = {name: values[0] for name, values in parse_qs(query).items()}
        conditions: list[str]
        values: list[Any]
        conditions, values = ["provider = 'twilio'", "arrived = 1"], []
        for name, column in (("To", "address"), ("From", "sender")):
            if name in wanted:
                conditions.append(f"{column} = ?")
                values.append(wanted[name])
        try:
            for condition, moment in _date_conditions(wanted):
                conditions.append(condition)
                values.append(moment)
            size = max(1, min(int(wanted.get("PageSize", "50")), PAGE_MAX))
            page = max(0, int(wanted.get("Page", "0")))
        except ValueError:
            return _error_body(400, 20001, "Unable to parse the query's dates or page.")
        found = await self._books.find(" AND ".join(conditions), tuple(values), limit=size * (page + 1) + 1)
        shown = found[size * page : size * (page + 1)]
        path = f"/2010-04-01/Accounts/{self._sid}/Messages.json"
        more = len(found) > size * (page + 1)
        body = {
            "messages": [self._resource_of(item) for item in shown],
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": page * size + max(0, len(shown) - 1),
            "uri": f"{path}?{query}",
            "first_page_uri": f"{path}?PageSize={size}&Page=0",
            "next_page_uri": f"{path}?PageSize={size}&Page={page + 1}" if more else None,
            "previous_page_uri": f"{path}?PageSize={size}&Page={page - 1}" if page else None,
        }
        return Answer(200, msgspec.json.encode(body), JSON)

    def _resource_of(self, item: Item) -> dict[str, Any]:
        entry = Entry(
            address=item.address,
            body=item.body,
            provider_id=item.provider_id,
            sender=item.sender,
            extra=item.extra,
        )
        return self._resource(item.provider_id, entry, item.received_at, status="sent")

    def _resource(self, sid: str, entry: Entry, at: float, *, status: str) -> dict[str, Any]:
        moment = format_datetime(datetime.fromtimestamp(at, UTC))
        path = f"/2010-04-01/Accounts/{self._sid}/Messages/{sid}"
        service = entry.sender if entry.sender.startswith("MG") else None
        return {
            "account_sid": self._sid,
            "api_version": "2010-04-01",
            "body": entry.body,
            "date_created": moment,
            "date_sent": moment if status == "sent" else None,
            "date_updated": moment,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": None if service else entry.sender,
            "messaging_service_sid": service,
            "num_media": "0",
            "num_segments": str(max(1, -(-len(entry.body) // 153))),
            "price": None,
            "price_unit": "USD",
            "sid": sid,
            "status": status,
            "subresource_uris": {"media": f"{path}/Media.json"},
            "to": entry.address,
            "uri": f"{path}.json",
        }

    def _error(self, code: int, form: dict[str, str]) -> Answer:
        return _error_body(STATUS_OF.get(code, 400), code, _message(code, form.get("To", "")))


def _message(code: int, to: str, default: str = "") -> str:
    """Twilio's words, with the number whole where it says that."""
    return MESSAGES.get(code, default).replace("{to}", to)


def _error_body(status: int, code: int, message: str) -> Answer:
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": message, "more_info": more, "status": status}
    return Answer(status, msgspec.json.encode(body), JSON)


def _entry(form: dict[str, str], sid: str) -> Entry:
    callback = form.get("StatusCallback", "")
    return Entry(
        address=form.get("To", ""),
        body=form.get("Body", ""),
        message_id=next(iter(parse_qs(urlsplit(callback).query).get("message_id", [])), ""),
        provider_id=sid,
        sender=form.get("From", "") or form.get("MessagingServiceSid", ""),
        extra={"callback": callback} if callback else {},
    )


def _is_callback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _date_conditions(wanted: dict[str, str]) -> list[tuple[str, float]]:
    """DateSent is a day; `DateSent>` and `DateSent<` (as Twilio writes >= and <=) take a day or a moment."""
    conditions: list[tuple[str, float]] = []
    if day := wanted.get("DateSent"):
        start = _moment(day)
        end = start + timedelta(days=1)
        conditions += [("received_at >= ?", start.timestamp()), ("received_at < ?", end.timestamp())]
    if since := wanted.get("DateSent>"):
        conditions.append(("received_at >= ?", _moment(since).timestamp()))
    if until := wanted.get("DateSent<"):
        conditions.append(("received_at <= ?", _moment(until).timestamp()))
    return conditions


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
