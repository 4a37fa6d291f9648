// Push messages for the visitors of a site: asks for permission, subscribes the browser, registers it.
// Runs in pages, and in push-worker.js. What it keeps is in the browser's IndexedDB "msgxc-push".
"use strict";

self.msgxcPush = (() => {
  const DATABASE = "msgxc-push";
  const KEPT = "kept";
  const REPORTS = "reports";
  const PATIENCE_MS = 20_000;

  function done(request) {
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  // One request per transaction. To resolve means that it is kept.
  async function stored(store, mode, work) {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(KEPT);
      opening.result.createObjectStore(REPORTS, { autoIncrement: true });
    };
    const database = await done(opening);
    try {
      const transaction = database.transaction(store, mode);
      const committed = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      const answer = await done(work(transaction.objectStore(store)));
      await committed;
      return answer;
    } finally {
      database.close();
    }
  }

  const kept = () => stored(KEPT, "readonly", (store) => store.get("site"));
  const keep = (site) => stored(KEPT, "readwrite", (store) => store.put(site, "site"));
  const forget = () => stored(KEPT, "readwrite", (store) => store.delete("site"));

  // Null for what is not there.
  async function asked(api, method, path, body) {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const json = body === undefined ? undefined : JSON.stringify(body);
    const response = await fetch(api + path, { method, headers, body: json, credentials: "omit", signal });
    if (response.ok) return response;
    if (response.status === 404 && method !== "POST") return null;
    throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  }

  // As the API spells it.
  function spelled(subscription) {
    const { endpoint, keys } = subscription.toJSON();
    return { endPoint: endpoint, keys: { p256DH: keys.p256dh, auth: keys.auth } };
  }

  // The name of this browser. Whoever knows it may change the registration, so nobody can guess it.
  function minted() {
    const random = crypto.getRandomValues(new Uint8Array(32));
    return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  async function register(site, subscription) {
    const { api, domain, email, visitorGuid } = site;
    const deviceToken = minted();
    const body = { domain, deviceToken, subscription: spelled(subscription), email, visitorGuid };
    await asked(api, "POST", "/push-contacts", body);
    await keep({ ...site, deviceToken, endpoint: subscription.endpoint });
  }

  // Tell where the browser is reached now. A registration that has been deleted meanwhile is made anew, by a new name.
  async function tell(site, subscription) {
    if (site.endpoint === subscription.endpoint) return;
    const path = `/push-contacts/${site.deviceToken}/subscription`;
    const response = await asked(site.api, "PUT", path, spelled(subscription));
    if (response) await keep({ ...site, endpoint: subscription.endpoint });
    else await register(site, subscription);
  }

  function bytes(base64url) {
    const padded = base64url.replace(/-/g, "+").replace(/_/g, "/") + "=".repeat(-base64url.length & 3);
    return Uint8Array.from(atob(padded), (letter) => letter.charCodeAt(0));
  }

  function isUnder(subscription, key) {
    const bound = subscription.options?.applicationServerKey;
    if (!bound) return true;
    const own = new Uint8Array(bound);
    return own.length === key.length && own.every((byte, index) => byte === key[index]);
  }

  // A subscription under another key cannot be sent to any more.
  async function subscribed(registration, vapidPublicKey) {
    const key = bytes(vapidPublicKey);
    const found = await registration.pushManager.getSubscription();
    if (found && isUnder(found, key)) return found;
    await found?.unsubscribe();
    return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  }

  // Those of a page. api: the exchange's address. domain: the web domain. worker: where the site serves push-worker.js.
  class Site {
    #api;
    #domain;
    #worker;
    #configuration;
    #known = null;

    constructor({ api, domain, worker = "/push-worker.js" }) {
      this.#api = api.replace(/\/+$/, "");
      this.#domain = domain;
      this.#worker = worker;
      // Asked for early: browsers let a page ask for permission only shortly after a click.
      this.#configuration = this.#asked();
      this.#configuration.catch(() => {}); // whoever waits for it is told
    }

    // "unsupported", "disabled" (the domain sends nothing), "elsewhere" (its pages on externalPushDomain subscribe),
    // "denied", "default" (nobody was asked yet), "granted" (may be sent to, is not), or "subscribed".
    async state() {
      const closed = this.#closed(await this.#configuration);
      if (closed) return closed;
      const site = await kept();
      if (Notification.permission === "granted" && site && this.#isOurs(site)) return "subscribed";
      return Notification.permission;
    }

    // Call it in a click. Asks for permission, subscribes and registers; answers the state then.
    async subscribe({ email, visitorGuid } = {}) {
      const closed = this.#closed(this.#known ?? (await this.#configuration));
      if (closed) return closed;
      const permission = await Notification.requestPermission();
      if (permission !== "granted") return permission;
      const subscription = await this.#subscription();
      const site = await kept();
      if (site && this.#isOurs(site) && site.visitorGuid === visitorGuid) {
        await tell({ ...site, vapid: this.#known.vapidPublicKey }, subscription);
        if (email && site.email !== email) await this.setEmail(email);
      } else {
        const vapid = this.#known.vapidPublicKey;
        await register({ api: this.#api, domain: this.#domain, email, visitorGuid, vapid }, subscription);
      }
      return "subscribed";
    }

    // Call it on each page: mends a subscription that the browser lost or whose key has changed. Asks nobody anything.
    async resume() {
      const state = await this.state();
      if (state !== "subscribed") return state;
      const site = { ...(await kept()), vapid: this.#known.vapidPublicKey };
      await tell(site, await this.#subscription());
      return state;
    }

    async setEmail(email) {
      const site = await kept();
      if (!site) throw new Error("nobody has subscribed here");
      await asked(site.api, "PUT", `/push-contacts/${site.deviceToken}/email`, email);
      await keep({ ...(await kept()), email });
    }

    // The exchange finds out by the next push, which the browser's push service refuses.
    async unsubscribe() {
      const registration = await navigator.serviceWorker.getRegistration(this.#worker);
      await (await registration?.pushManager.getSubscription())?.unsubscribe();
      await forget();
    }

    async #asked() {
      const path = `/domains/${encodeURIComponent(this.#domain)}/push-configuration`;
      const response = await asked(this.#api, "GET", path);
      this.#known = response ? await response.json() : { isPushFeatureEnabled: false };
      return this.#known;
    }

    #isOurs(site) {
      return site.domain === this.#domain && site.api === this.#api;
    }

    // Why nobody can subscribe here, or null.
    #closed({ isPushFeatureEnabled, usesExternalPushDomain, externalPushDomain }) {
      if (!("serviceWorker" in navigator && "PushManager" in self && "Notification" in self)) return "unsupported";
      if (!isPushFeatureEnabled) return "disabled";
      if (usesExternalPushDomain && externalPushDomain && location.hostname !== externalPushDomain) return "elsewhere";
      return null;
    }

    async #subscription() {
      await navigator.serviceWorker.register(this.#worker);
      return subscribed(await navigator.serviceWorker.ready, this.#known.vapidPublicKey);
    }
  }

  return { Site, stored, REPORTS, kept, tell, subscribed, PATIENCE_MS };
})();
