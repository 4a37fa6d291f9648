"""Local stand-ins for the providers: they speak and check the real protocols, on loopback, and keep books.

    async with Sandbox(folder) as sandbox:
        sandbox.environment()               # MSGXC_APNS_URL, ..._KEY_FILE, ...: what points a gateway here
        sandbox.urls.apns                   # "https://127.0.0.1:41234"; also fcm, webpush, twilio, sendgrid, smtp
        sandbox.ca_file                     # trust this
        sandbox.credentials.twilio_auth_token
        sandbox.webpush_host                # "127.0.0.1:41236", for the web-push allow-list
        await sandbox.mint_subscription()   # endpoint, p256dh, auth: a browser that decrypts what it gets
        await sandbox.mint_device()         # an APNs token; mint_registration(): an FCM one
        sandbox.rules.add("apns", Respond(410, "Unregistered"), exact=token)
        sandbox.rules.add("fcm", Respond(429, "QUOTA_EXCEEDED", headers={"retry-after": "7"}), count=None)
        sandbox.rules.add("sms", Hang(processed=True), exact="+15550001111")
        items, total = await sandbox.books.messages(channel="apns")
        sandbox.app                         # ASGI, to be mounted under /sandbox

Any well-formed address is accepted: a rule says otherwise. Where a message's id is looked for:
APNs payload `msgxc.message_id`; FCM `data.message_id`; web push JSON payload `message_id`; Twilio `message_id` in the
query of StatusCallback; SendGrid `custom_args.message_id`; SMTP header `X-Message-Id`.
What a person reads: APNs `aps.alert` (title, body); FCM `notification`, else `data` (title, body); web push `title`
and `body`, else `subject` and `msg`; SMS `Body`; mail `subject` and text/plain.
"""

from infra.sandbox.books import Item
from infra.sandbox.rules import GoAway, Hang, Proceed, Refuse, Reset, Respond, Rule, Rules
from infra.sandbox.sandbox import PushSubscription, Sandbox, Urls

__all__ = [
    "GoAway",
    "Hang",
    "Item",
    "Proceed",
    "PushSubscription",
    "Refuse",
    "Reset",
    "Respond",
    "Rule",
    "Rules",
    "Sandbox",
    "Urls",
]
