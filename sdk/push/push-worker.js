// The service worker of push.js: shows messages, says that they came and were clicked, opens their links, and tells
// when the browser has a new subscription. Serve it beside push.js; a site with a worker of its own imports this one.
"use strict";

importScripts("push.js");

(() => {
  const { stored, REPORTS, kept, tell, subscribed, PATIENCE_MS } = self.msgxcPush;
  const REPORTS_MAX = 200; // kept while the exchange cannot be reached; the newest are left out beyond

  // Of this service; a site may get pushes of others.
  function read(data) {
    try {
      const payload = data.json();
      return payload?.title && payload.data?.messageId ? payload : null;
    } catch {
      return null;
    }
  }

  async function shown({ title, body, icon, image, actions, data }) {
    const tag = `msgxc-${data.messageId}`;
    const again = (await self.registration.getNotifications({ tag })).length > 0;
    const known = (actions ?? []).map(({ action, title, icon }) => ({ action, title, icon: icon ?? undefined }));
    const options = { body, icon: icon ?? undefined, image: image ?? undefined, actions: known, data, tag };
    await self.registration.showNotification(title, options);
    if (!again) await report(data.receivedEventEndpoint);
  }

  async function clicked({ notification, action }) {
    const { clickLink, clickedEventEndpoint, actionClickLinks, actionEventEndpoints } = notification.data;
    notification.close();
    const link = action ? (actionClickLinks?.[action] ?? clickLink) : clickLink;
    // The window first: a browser opens it only soon after the click.
    const opening = opened(link);
    await report(action ? actionEventEndpoints?.[action] : clickedEventEndpoint);
    await opening;
  }

  async function opened(link) {
    if (!link || !URL.canParse(link, self.location.href)) return;
    const url = new URL(link, self.location.href);
    if (url.protocol !== "https:" && url.protocol !== "http:") return;
    await self.clients.openWindow(url.href);
  }

  // Kept first, then sent: what fails now goes out with the next report.
  async function report(url) {
    if (url && (await stored(REPORTS, "readonly", (store) => store.count())) < REPORTS_MAX) {
      await stored(REPORTS, "readwrite", (store) => store.add(url));
    }
    await flushed();
  }

  let flushing = Promise.resolve();

  // One after another, so that none goes out twice.
  function flushed() {
    flushing = flushing.then(flush, flush);
    return flushing;
  }

  async function flush() {
    for (const key of await stored(REPORTS, "readonly", (store) => store.getAllKeys())) {
      const url = await stored(REPORTS, "readonly", (store) => store.get(key));
      if (!(await taken(url))) return;
      await stored(REPORTS, "readwrite", (store) => store.delete(key));
    }
  }

  // A link that is refused now will be refused later.
  async function taken(url) {
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const response = await fetch(url, { method: "POST", credentials: "omit", signal });
      return response.status < 500 && response.status !== 429;
    } catch {
      return false;
    }
  }

  async function changed(event) {
    const site = await kept();
    if (!site) return;
    const fresh = event.newSubscription ?? (await subscribed(self.registration, site.vapid));
    await tell(site, fresh);
  }

  self.addEventListener("install", () => self.skipWaiting());
  self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
  self.addEventListener("push", (event) => {
    const payload = event.data && read(event.data);
    if (payload) event.waitUntil(shown(payload));
  });
  self.addEventListener("notificationclick", (event) => {
    if (event.notification.tag.startsWith("msgxc-")) event.waitUntil(clicked(event));
  });
  self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(changed(event)));
})();
