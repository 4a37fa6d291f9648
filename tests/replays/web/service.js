// The calls of the Emarsys web push SDK 2.6, for its page and its service worker.
//
// Followed (distributed builds of 2.6): me-v3-api-request.js (headers, CORS mode, the counter of requests),
// me-client-service.js and me-device-event-service.js (exact codes, JSON on every failure, what is stored when),
// jwt.js and utils.js (the client state, decoded with atob). Builds differ in the folder of the client service:
// 2.6.1 asks below /apps, later ones below /domains.
"use strict";

let requestOrder = 0;

async function asked(method, service, path, body, ...credentials) {
  const headers = new Headers({ "content-type": "application/json", "x-client-id": await store.get("clientId") });
  for (const [header, name] of credentials) {
    const value = await store.get(name);
    if (value) headers.append(header, value);
  }
  headers.append("x-request-order", `${requestOrder++}`);
  const base = await store.get(`${service}Base`);
  const url = `${base}/${await store.get("appCode")}/${path}`;
  try {
    return await fetch(url, { method, headers, mode: "cors", cache: "default", body: JSON.stringify(body) });
  } catch (error) {
    await surprised(`error ${method} ${path}: ${error.message}`);
    throw error;
  }
}

const STATE = ["x-client-state", "clientState"];
const CONTACT = ["x-contact-token", "contactToken"];

async function failed(method, path, response) {
  try {
    await response.json();
    await surprised(`error ${method} ${path}: ${response.status}`);
  } catch {
    await surprised(`unreadable error of ${method} ${path}: ${response.status}`);
  }
  return false;
}

async function keepState(method, path, response) {
  const state = response.headers.get("x-client-state");
  if (state) await store.set("clientState", state);
  else await surprised(`error ${method} ${path}: no X-Client-State in its answer`);
}

function decoded(token) {
  const text = token.split(".")[1];
  const padded = (text + "=".repeat((4 - (text.length % 4)) % 4)).replace(/-/g, "+").replace(/_/g, "/");
  return JSON.parse(atob(padded));
}

const clientService = {
  async storeClientDetails() {
    const details = {
      platform: "chrome",
      applicationVersion: (await store.get("applicationVersion")) ?? "0.0.0",
      deviceModel: navigator.userAgent,
      osVersion: "120",
      sdkVersion: "2.6.1",
      language: navigator.language,
      timezone: "+0200",
    };
    const response = await asked("POST", "client", "client", details, STATE);
    if (response.status !== 204) return failed("POST", "client", response);
    await keepState("POST", "client", response);
    return true;
  },

  // No contact: the anonymous one. Without a client state it does not even ask.
  async linkClientToContact(contact) {
    if (!(await store.get("clientState"))) return false;
    const path = contact ? "client/contact" : "client/contact?anonymous=true";
    const body = contact
      ? {
          contactFieldId: contact.fieldId,
          contactFieldValue: contact.fieldValue,
          contactFieldEncrypted: contact.encrypted ?? false,
        }
      : {};
    const response = await asked("POST", "client", path, body, STATE);
    if (response.status !== 200) return failed("POST", path, response);
    await keepState("POST", path, response);
    const { contactToken, refreshToken } = await response.json();
    if (!contactToken || !refreshToken) {
      await surprised(`unreadable answer of POST ${path}: a token is missing`);
      return false;
    }
    await store.set("contactToken", contactToken);
    await store.set("refreshToken", refreshToken);
    return true;
  },

  async generateAccessToken() {
    const refreshToken = await store.get("refreshToken");
    if (!refreshToken || !(await store.get("clientState"))) return false;
    const response = await asked("POST", "client", "client/contact-token", { refreshToken }, STATE);
    if (response.status !== 200) return failed("POST", "client/contact-token", response);
    const { contactToken } = await response.json();
    if (!contactToken) {
      await surprised("unreadable contact-token answer: no contactToken");
      return false;
    }
    await store.set("contactToken", contactToken);
    return true;
  },

  async registerPushToken(pushToken) {
    if (!(await this.isKnown())) return false;
    const response = await asked("PUT", "client", "client/push-token", { pushToken }, STATE, CONTACT);
    if (response.status !== 204) return failed("PUT", "client/push-token", response);
    await keepState("PUT", "client/push-token", response);
    return true;
  },

  async removePushToken() {
    if (!(await this.isKnown())) return false;
    const response = await asked("DELETE", "client", "client/push-token", {}, STATE, CONTACT);
    if (response.status !== 204) await failed("DELETE", "client/push-token", response);
    else await keepState("DELETE", "client/push-token", response);
    return true;
  },

  async isKnown() {
    return Boolean((await store.get("clientState")) && (await store.get("contactToken")));
  },
};

// Events are sent once more after one refresh, and never a third time.
async function postEvents(events) {
  const body = { dnd: true, events, clicks: [], viewedMessages: [] };
  if (!(await clientService.isKnown())) return false;
  let response = await asked("POST", "events", "client/events", body, STATE, CONTACT);
  if (response.status === 401 && (await clientService.generateAccessToken())) {
    response = await asked("POST", "events", "client/events", body, STATE, CONTACT);
  }
  if (response.status === 200 || response.status === 204) return true;
  return failed("POST", "client/events", response);
}
