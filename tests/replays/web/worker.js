// The service worker of the Emarsys web push SDK 2.6.
//
// Followed (distributed builds of 2.6): emarsys-service-worker.js (pushes it shows and those it drops, what a click
// reports, a changed subscription), utils.js (isValidPayload).
"use strict";

importScripts("/store.js", "/service.js");

const TYPES = { id: "string", sid: "string", applicationCode: "string", notificationSettings: "object" };

function isValid(payload) {
  const data = payload?.messageData;
  return Boolean(data) && Object.entries(TYPES).every(([name, type]) => data[name] && typeof data[name] === type);
}

async function shown(payload) {
  if (!isValid(payload)) {
    await surprised("rejected a push");
    return;
  }
  const { icon, image, actions } = payload.messageData.notificationSettings;
  await self.registration.showNotification(payload.title ?? "", {
    body: payload.message,
    data: payload,
    icon,
    image,
    actions: actions?.map(({ id, title }) => ({ action: id, title })),
  });
}

async function clicked(notification) {
  notification.close();
  const { sid, treatments } = notification.data.messageData;
  const attributes = treatments ? { sid, treatments: JSON.stringify(treatments) } : { sid };
  return postEvents([
    { type: "internal", name: "webpush:click", timestamp: new Date().toISOString(), attributes },
  ]);
}

// Any failure is followed by one refresh and one more try.
async function subscriptionChanged(subscription) {
  const token = JSON.stringify(subscription);
  if (await clientService.registerPushToken(token)) return true;
  return (await clientService.generateAccessToken()) && clientService.registerPushToken(token);
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(shown(event.data.json())));

// No protocol lets a test click a notification, or take a subscription away: it says so by message.
const HANDS = {
  notifications: async () =>
    (await self.registration.getNotifications()).map(({ title, body }) => ({ title, body })),
  click: async () => clicked((await self.registration.getNotifications())[0]),
  subscriptionChanged: async ({ subscription }) => subscriptionChanged(subscription),
};
self.addEventListener("message", (event) => {
  event.waitUntil(HANDS[event.data.what](event.data).then((answer) => event.ports[0].postMessage(answer)));
});
