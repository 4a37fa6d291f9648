"""The AsyncAPI 3 document: every subject of the log, and the sockets that show FEED. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.eventstore.asyncapi_shops import shop_channels, shop_schemas
from infra.eventstore.catalogue import DELIVERY_TOPICS, Catalogue
from infra.nats.streams import StreamSettings, stream_configs

_ID = {"description": "32 hex digits, ours: UUIDv8 by HMAC of the outside id"}
_PARTITION = {"description": "two hex digits: the id's first byte modulo 64"}
_CHANNEL = {"description": "websocket, apns, fcm, webpush, sms, email, or a further one"}
_DISPATCH = {"description": "<message>-<page>-<try>"}

_DELIVERY_ADDRESSES: Mapping[str, str] = {
    "audience.v2": "audience.{message}.{page}",
    "dispatch.v3": "dispatch.{channel}.{lane}.{message}.{page}.{try}",
    "attempt.v1": "attempt.{channel}.{dispatch}",
    "outcome.v2": "outcome.{channel}.{dispatch}",
    "receipt.v1": "receipt.{channel}.{message}",
}

_PARAMETERS: Mapping[str, dict[str, Any]] = {
    "id": _ID,
    "message": _ID,
    "partition": _PARTITION,
    "channel": _CHANNEL,
    "dispatch": _DISPATCH,
    "page": {"description": "the audience page's number, with a suffix where a channel needs several"},
    "try": {"description": "1 for the first try"},
    "lane": {"enum": ["live", "bulk"]},
    "kind": {"description": "who is to act when it is due"},
    "source": {"description": "who put it aside"},
    "client": _ID,
    "vid": {"description": "the visitor's UUID"},
    "sid": {"description": "the session's UUIDv1, at most 48 hours old"},
}

_FRAME = {
    "type": "object",
    "properties": {
        "slug": {"type": "string"},
        "sender": {"type": "object"},
        "msg": {"type": "string"},
        "opts": {"type": "object"},
        "ok": {"type": "boolean"},
        "mid": {"type": "string", "format": "uuid"},
        "subject": {"type": "string"},
    },
}
"""As it is on FEED."""

_SOCKET_FRAME = {
    "type": "object",
    "properties": {
        "position": {
            "type": "string",
            "description": "In every frame, answers, errors and notices included, unless the log cannot be reached: "
            "all up to it has been sent; opaque, and growing as text. What `resume` begins after.",
        },
        **_FRAME["properties"],  # type: ignore[dict-item]
        "data": {"description": "what a frame that was sent is answered with"},
        "error": {"type": "string", "description": "the status and what is wrong: `404 ...`"},
        "problem": {"type": "object", "description": "the same as RFC 9457 has it"},
    },
}


def asyncapi(catalogue: Catalogue) -> dict[str, Any]:
    """The document, ready to be written as JSON."""
    channels = (
        _event_channels(catalogue)
        | _delivery_channels()
        | _other_channels()
        | _socket_channels()
        | shop_channels()
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "MSGXC",
            "version": "1",
            "description": "Facts on NATS JetStream, and the sockets that show the feed. Bodies of EVENTS and "
            "DELIVERY are described in `events/<topic>.json`; the envelope is in the headers.",
        },
        "servers": {
            "log": {
                "host": "{nats}",
                "protocol": "nats",
                "variables": {"nats": {"default": "127.0.0.1:4222"}},
            },
            "sockets": {
                "host": "{http}",
                "protocol": "ws",
                "variables": {"http": {"default": "127.0.0.1:8000"}},
            },
        },
        "channels": channels,
        "operations": {f"on-{name}": _operation(name) for name in channels},
        "components": {
            "schemas": {
                "Envelope": _envelope(),
                "Frame": _FRAME,
                "SocketFrame": _SOCKET_FRAME,
                **shop_schemas(),
            }
        },
        "x-streams": {each["name"]: each["subjects"] for each in stream_configs(StreamSettings())},
    }


def _event_channels(catalogue: Catalogue) -> dict[str, Any]:
    return {
        f"evt-{aggregate}": _channel(
            f"evt.{aggregate}.{{partition}}.{{id}}",
            [topic for topic in sorted(catalogue.types) if topic.startswith(f"{aggregate}.")],
        )
        for aggregate in sorted(catalogue.aggregates)
    }


def _delivery_channels() -> dict[str, Any]:
    return {
        topic.partition(".")[0]: _channel(_DELIVERY_ADDRESSES[topic], [topic]) for topic in DELIVERY_TOPICS
    }


def _other_channels() -> dict[str, Any]:
    raw = {"payload": {}, "summary": "JSON of its own kind"}
    frame = {"payload": {"$ref": "#/components/schemas/Frame"}}
    return {
        "feed-thread": _plain("feed.thread.{id}", frame, "what open sockets of a thread show"),
        "feed-contact": _plain("feed.contact.{id}", frame, "what a contact's own sockets show"),
        "live-thread": _plain("live.thread.{id}", frame, "feed.thread, republished with Nats-Sequence"),
        "live-contact": _plain("live.contact.{id}", frame, "feed.contact, republished with Nats-Sequence"),
        "signal": _plain(
            "signal.{kind}.{partition}.{client}", raw, "device events and interactions, in batches"
        ),
        "schedule": _plain("schedule.{id}", raw, "a NATS message schedule"),
        "due": _plain("due.{kind}.{id}", raw, "a schedule whose time has come"),
        "triage": _plain("triage.{source}.{id}", raw, "a fact put aside, its reason in the header Reason"),
    }


def _socket_channels() -> dict[str, Any]:
    frame = {"payload": {"$ref": "#/components/schemas/SocketFrame"}}
    socket = _plain("/api/v2/connect/{vid}/{sid}", frame, "the web socket; frames carry a slug")
    stream = _plain("/api/v2/stream", frame, "the same feed by server-sent events; Last-Event-ID resumes")
    servers = [{"$ref": "#/servers/sockets"}]
    return {"socket": {**socket, "servers": servers}, "stream": {**stream, "servers": servers}}


def _channel(address: str, topics: list[str]) -> dict[str, Any]:
    messages = {
        topic: {
            "name": topic,
            "headers": {"$ref": "#/components/schemas/Envelope"},
            "payload": {"$ref": f"./events/{topic}.json"},
        }
        for topic in topics
    }
    return _addressed(address, messages, "")


def _plain(address: str, message: dict[str, Any], description: str) -> dict[str, Any]:
    return _addressed(address, {"message": message}, description)


def _addressed(address: str, messages: dict[str, Any], description: str) -> dict[str, Any]:
    names = [part.partition("}")[0] for part in address.split("{")[1:]]
    channel: dict[str, Any] = {"address": address, "messages": messages}
    if description:
        channel["description"] = description
    if names:
        channel["parameters"] = {name: _PARAMETERS[name] for name in names}
    return channel


def _operation(channel: str) -> dict[str, Any]:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{channel}"}}


def _envelope() -> dict[str, Any]:
    texts = {
        "Topic": "what kind of fact, with its version",
        "Version": "the aggregate's version",
        "Realm": "the tenant",
        "Actor": "who did it",
        "Cause": "position or id of what this follows from",
        "Corr": "the request's id, the same along the whole chain",
        "Time": "the accepting process's time, UTC, microseconds",
        "Prev": "SHA-256 of the aggregate's previous event",
        "Key": "name of the key that seals the sealed fields",
        "Claim": "hash of the command's parameters",
    }
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    return {"type": "object", "required": ["Topic", "Time"], "properties": properties}
