"""Doppler's payloads, as its own service worker reads them.

Read off FromDoppler/doppler-push-api, `Contract/NotificationPayload.cs` and `DopplerMessageService.SerializePayload`
(commit 0cdcf476), and off the service worker that goes with it (`doppler-push-notification-sw.js`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.message import Content
from domain.notifications.push import push_of
from gateways.port import AppSender
from gateways.styles import STYLES
from gateways.styles.sheet import Marks, Sheet

LINKS = Marks(
    "sid", "id", "https://m/clicked", "https://m/received", ("https://m/a/buy", "https://m/a/later")
)


def sheet(push: dict[str, Any], marks: Marks = LINKS) -> Sheet:
    content = Content("Only today", "Sale", {"push": push})
    return Sheet(str(UUID(int=7)), AppSender(code="shop.example"), content, push_of(content), marks)


class ServiceWorker:
    """What the original does on `push` and `notificationclick`: what it shows, opens and reports."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.title = payload["title"]
        self.options = {
            "body": payload["body"],
            "image": payload.get("image") or None,
            "icon": payload.get("icon") or None,
            "data": payload.get("data") or {},
            "actions": payload.get("actions") or [],
        }
        self.opened: list[str] = []
        self.reported: list[str] = []
        if self.options["data"].get("receivedEventEndpoint"):
            self.reported.append(self.options["data"]["receivedEventEndpoint"])

    def click(self, action: str = "") -> None:
        data = self.options["data"]
        if action:
            link = (data.get("actionClickLinks") or {}).get(action)
            endpoint = (data.get("actionEventEndpoints") or {}).get(action)
        else:
            link, endpoint = data.get("clickLink"), data.get("clickedEventEndpoint")
        self.opened += [link] if link else []
        self.reported += [endpoint] if endpoint else []


RICH = {
    "image": "https://shop.example/i.png",
    "icon": "https://shop.example/icon.png",
    "link": "https://shop.example",
    "actions": [
        {
            "id": "buy",
            "title": "Buy",
            "url": "https://shop.example/buy",
            "icon": "https://shop.example/b.png",
        },
        {"id": "later", "title": "Later"},
    ],
}


def test_the_service_worker_shows_it_and_reports_by_the_links() -> None:
    """Received at once, then the click on the notification, then one on each button."""
    worker = ServiceWorker(STYLES["doppler"].web(sheet(RICH)))
    assert (worker.title, worker.options["body"]) == ("Sale", "Only today")
    assert worker.options["image"] == "https://shop.example/i.png"
    assert worker.options["actions"] == [
        {"action": "buy", "title": "Buy", "icon": "https://shop.example/b.png"},
        {"action": "later", "title": "Later", "icon": None},
    ]
    worker.click()
    worker.click("buy")
    worker.click("later")
    assert worker.opened == ["https://shop.example", "https://shop.example/buy"]
    assert worker.reported == [
        "https://m/received",
        "https://m/clicked",
        "https://m/a/buy",
        "https://m/a/later",
    ]


def test_without_links_nothing_is_reported() -> None:
    """A domain whose exchange has no public address."""
    worker = ServiceWorker(STYLES["doppler"].web(sheet({}, Marks("sid", "id"))))
    worker.click()
    assert (worker.opened, worker.reported) == ([], [])
    assert worker.options["data"] == {"messageId": str(UUID(int=7))}


def test_a_tap_that_opens_a_page_is_a_link() -> None:
    """The service worker knows no other taps."""
    tap = {"tap": {"url": "https://shop.example/sale"}}
    worker = ServiceWorker(STYLES["doppler"].web(sheet(tap)))
    worker.click()
    assert worker.opened == ["https://shop.example/sale"]
    assert STYLES["doppler"].fcm(sheet(tap)).link == "https://shop.example/sale"


def test_a_campaign_is_what_the_message_is_called() -> None:
    """The page sees the message that its statistics count in."""
    shown = STYLES["doppler"].web(sheet({"campaign": "4711"}))
    assert shown["data"]["messageId"] == "4711"


def test_by_a_token_of_firebase_the_system_shows_it() -> None:
    """As the original: notification and link; what reports travels as data, which is text to text."""
    form = STYLES["doppler"].fcm(sheet(RICH))
    assert form.notification == {
        "title": "Sale",
        "body": "Only today",
        "image": "https://shop.example/i.png",
    }
    assert form.link == "https://shop.example"
    assert form.data["clickedEventEndpoint"] == "https://m/clicked"
    assert all(isinstance(value, str) for value in form.data.values())
