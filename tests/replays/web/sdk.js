// The page's part of the Emarsys web push SDK 2.6.
//
// Followed (distributed builds of 2.6): me-web-push.js (init, subscribe, unsubscribe, login, logout, customEvent,
// cleanup at another application code), push-service/vapid-push-service.js (what makes a browser register anew).
// The browser under test has no push service to subscribe with: `subscription` stands in for what it would give.
"use strict";

const subscription = {
  async current() {
    return (await store.get("subscription")) ?? null;
  },
  async make() {
    const keys = await store.get("subscriptionToMake");
    await store.set("subscription", keys);
    return keys;
  },
  async remove() {
    await store.set("subscription", undefined);
  },
};

const sdk = {
  async init({ applicationCode, clientBase, eventsBase, applicationVersion, toSubscribe, clientId }) {
    const saved = await store.get("appCode");
    await store.set("clientBase", clientBase);
    await store.set("eventsBase", eventsBase);
    await store.set("subscriptionToMake", toSubscribe);
    if (saved !== applicationCode) {
      if (saved) await this.cleanUp();
      await store.clear("surprises", "clientBase", "eventsBase", "subscriptionToMake");
      await store.set("appCode", applicationCode);
    }
    if (!(await store.get("clientId"))) {
      await store.set("clientId", clientId ?? `${applicationCode}_${crypto.randomUUID()}`);
    }
    await store.set("applicationVersion", applicationVersion);
    await navigator.serviceWorker.register("/worker.js");
    await navigator.serviceWorker.ready;
    await this.processPermission();
    return this.whoAmI();
  },

  async processPermission() {
    const last = await store.get("lastPermission");
    if (last !== Notification.permission) {
      await store.set("lastPermission", Notification.permission);
      await this.unsubscribe();
    }
    if (Notification.permission === "granted") await this.subscribe();
  },

  async subscribe() {
    const contact = await this.loggedInContact();
    if (!(await this.isSubscribed())) await this.unsubscribe();
    const token = JSON.stringify((await subscription.current()) ?? (await subscription.make()));
    if (token === (await store.get("pushToken"))) return;
    const done =
      (await clientService.storeClientDetails()) &&
      (await clientService.linkClientToContact(contact?.fieldValue ? contact : undefined)) &&
      (await clientService.registerPushToken(token));
    if (done) await store.set("pushToken", token);
  },

  async unsubscribe() {
    await clientService.removePushToken();
    await store.set("pushToken", undefined);
    await subscription.remove();
  },

  async isSubscribed() {
    const state = await store.get("clientState");
    return Boolean(state && decoded(state).pushToken);
  },

  // undefined: no contact; {}: the anonymous one.
  async loggedInContact() {
    const state = await store.get("clientState");
    if (!state) return undefined;
    const contact = decoded(state).contactField;
    if (contact === undefined) return undefined;
    if (contact === null || Object.keys(contact).length === 0) return {};
    if (contact.contactFieldId !== undefined && contact.contactFieldValue) {
      return {
        fieldId: contact.contactFieldId,
        fieldValue: contact.contactFieldValue,
        encrypted: contact.contactFieldEncryped === true,
      };
    }
    await surprised(`error in the client state: contactField ${JSON.stringify(contact)}`);
    return undefined;
  },

  async cleanUp() {
    const state = await store.get("clientState");
    if (!state) return;
    const { pushToken, contactField } = decoded(state);
    if (pushToken) await clientService.removePushToken();
    if (contactField) await clientService.linkClientToContact();
  },

  async whoAmI() {
    return {
      clientId: await store.get("clientId"),
      contact: (await this.loggedInContact()) ?? null,
      isSubscribed: await this.isSubscribed(),
      surprises: (await store.get("surprises")) ?? [],
    };
  },

  login: (contact) => clientService.linkClientToContact(contact),
  logout: () => clientService.linkClientToContact(),
  customEvent: (name, attributes) =>
    postEvents([
      {
        type: "custom",
        name,
        timestamp: new Date().toISOString(),
        attributes: { ...attributes, "me:origin": "webpush" },
      },
    ]),
};

// What a test does to the browser, not the SDK.
const hand = {
  spoilContactToken: () => hand.spoil("contactToken"),
  async spoil(name) {
    const [head, body, signature] = (await store.get(name)).split(".");
    await store.set(name, [head, body, [...signature].reverse().join("")].join("."));
  },
  async told(message) {
    const worker = (await navigator.serviceWorker.ready).active;
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => resolve(data);
      worker.postMessage(message, [port2]);
    });
  },
};
