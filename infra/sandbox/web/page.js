"use strict";
// Shows what is in the sandbox's books, and lets one publish through the exchange's own REST and watch it arrive.

const POLL_MS = 1000, POLL_WATCHING_MS = 150, WATCH_MS = 15000;
const PAGE_SIZE = 500, CARDS_MAX = 60, LOG_MAX = 300;
const RECONNECT_MS = [500, 1000, 2000, 5000, 10000];
const CHANNELS = { websocket: "Web socket", apns: "iPhone", fcm: "Android", webpush: "Browser", sms: "SMS", email: "E-mail" };

const ANSWERS = {
  apns: [
    ["410 Unregistered", { type: "respond", status: 410, reason: "Unregistered" }],
    ["400 BadDeviceToken", { type: "respond", status: 400, reason: "BadDeviceToken" }],
    ["403 ExpiredProviderToken", { type: "respond", status: 403, reason: "ExpiredProviderToken" }],
    ["429 TooManyRequests", { type: "respond", status: 429, reason: "TooManyRequests" }],
    ["503 ServiceUnavailable", { type: "respond", status: 503, reason: "ServiceUnavailable" }],
    ["GOAWAY", { type: "goaway" }], ["REFUSED_STREAM", { type: "refuse" }],
  ],
  fcm: [
    ["404 UNREGISTERED", { type: "respond", status: 404, reason: "UNREGISTERED" }],
    ["400 INVALID_ARGUMENT", { type: "respond", status: 400, reason: "INVALID_ARGUMENT" }],
    ["403 SENDER_ID_MISMATCH", { type: "respond", status: 403, reason: "SENDER_ID_MISMATCH" }],
    ["429 QUOTA_EXCEEDED, Retry-After 5", { type: "respond", status: 429, reason: "QUOTA_EXCEEDED", headers: { "retry-after": "5" } }],
    ["503 UNAVAILABLE", { type: "respond", status: 503, reason: "UNAVAILABLE" }],
  ],
  webpush: [
    ["410 Gone", { type: "respond", status: 410, reason: "push subscription has unsubscribed or expired" }],
    ["404 Not Found", { type: "respond", status: 404, reason: "no such subscription" }],
    ["429, Retry-After 5", { type: "respond", status: 429, headers: { "retry-after": "5" } }],
    ["413 Payload Too Large", { type: "respond", status: 413 }],
  ],
  sms: [
    ["21610 unsubscribed", { type: "respond", status: 400, reason: "21610" }],
    ["21614 not a mobile number", { type: "respond", status: 400, reason: "21614" }],
    ["20429 Too Many Requests", { type: "respond", status: 429, reason: "20429" }],
    ["500", { type: "respond", status: 500 }],
  ],
  email: [
    ["429 until X-RateLimit-Reset", { type: "respond", status: 429 }],
    ["401 wrong key", { type: "respond", status: 401 }],
    ["503", { type: "respond", status: 503 }],
  ],
};
const EVERYWHERE = [
  ["never answers", { type: "hang" }],
  ["takes it, but never answers", { type: "hang", processed: true }],
  ["connection reset", { type: "reset", connection: true }],
];

const $ = (id) => document.getElementById(id);
const state = { last: null, watching: null, totals: {}, log: [], socket: null, attempts: 0 };

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const when = (iso) => element("time", { datetime: iso, text: clock(iso) });
const bare = (id) => (id || "").replaceAll("-", "").toLowerCase();
const readable = (item) => item.body || item.note || "(no text)";

async function call(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const text = await answer.text();
  let body = text;
  try { body = JSON.parse(text); } catch { /* a body without JSON is shown as it is */ }
  if (!answer.ok) {
    const error = new Error((body && (body.detail || body.title)) || text || `status ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return { body, headers: answer.headers };
}

// What arrived

const CARDS = {
  apns: (item) => [
    element("div", { class: "head" }, element("span", { class: "title", text: item.title || "MSGXC" }), when(item.received_at)),
    element("div", { text: readable(item) }),
  ],
  fcm: (item) => CARDS.apns(item),
  webpush: (item) => [
    element("div", { class: "body" },
      element("span", { class: "title", text: item.title || "MSGXC" }),
      element("span", { class: item.body ? "" : "note", text: readable(item) })),
    element("p", { class: "origin" }, `${new URL(item.address).host} · `, when(item.received_at)),
  ],
  sms: (item) => [
    element("p", { class: "bubble", text: readable(item) }),
    element("p", { class: "origin" }, `${item.sender} to ${item.address} · `, when(item.received_at)),
  ],
  email: (item) => [
    element("details", {},
      element("summary", {},
        element("span", { class: "from", text: item.title || "(no subject)" }), when(item.received_at),
        element("span", { class: "first", text: readable(item) })),
      element("div", { class: "whole" },
        element("p", { class: "origin", text: `${item.sender} to ${item.address}, by ${item.provider === "smtp" ? "SMTP" : "SendGrid"}` }),
        readable(item))),
  ],
};

const list = (channel) => document.querySelector(`[data-channel="${channel}"] .items`);

function put(channel, key, children) {
  const items = list(channel);
  if (key) items.querySelector(`[data-key="${CSS.escape(key)}"]`)?.remove(); // a repeat replaces, as on the device
  const options = key ? { "data-key": key } : {};
  items.prepend(element("li", options, ...children));
  while (items.children.length > CARDS_MAX) items.lastElementChild.remove();
}

function count(channel, more) {
  state.totals[channel] = (state.totals[channel] || 0) + more;
  document.querySelector(`[data-channel="${channel}"] .count`).textContent = `${state.totals[channel].toLocaleString()} arrived`;
}

function show(item, isNew) {
  state.log.unshift(item);
  if (!item.arrived) {
    if (isNew) reached(item.channel, item.message_id, item.body, Date.parse(item.received_at), answerOf(item));
    return;
  }
  const replaces = ["apns", "fcm", "webpush"].includes(item.channel) && item.collapse_id;
  put(item.channel, replaces ? `${item.address} ${item.collapse_id}` : "", CARDS[item.channel](item));
  if (isNew) {
    count(item.channel, 1);
    reached(item.channel, item.message_id, item.body, Date.parse(item.received_at));
  }
}

async function look() {
  const first = state.last === null;
  const asked = first ? `limit=${CARDS_MAX * 5}` : `after=${state.last}&limit=${PAGE_SIZE}`;
  const { body } = await call(`/sandbox/messages?refused=1&${asked}`);
  for (const item of body.items) {
    state.last = item.id;
    show(item, !first);
  }
  if (first) {
    state.last ??= 0;
    await Promise.all(["apns", "fcm", "webpush", "sms", "email"].map(async (channel) => {
      count(channel, (await call(`/sandbox/messages?channel=${channel}&limit=0`)).body.total);
    }));
  }
  if (body.items.length) drawLog();
  return body.items.length === PAGE_SIZE;
}

async function follow() {
  let more = false;
  try {
    more = await look();
    live(true);
  } catch {
    live(false);
  }
  const pause = more ? 0 : state.watching ? POLL_WATCHING_MS : POLL_MS;
  setTimeout(follow, document.hidden ? 3 * POLL_MS : pause);
}

function live(on) {
  $("live").className = `live ${on ? "on" : "off"}`;
  $("live-text").textContent = on ? "Live" : "The exchange does not answer; trying again";
}

// Publishing, and the race to the devices

async function publish(event) {
  event.preventDefault();
  const text = $("text").value.trim(), subject = $("subject").value.trim();
  if (text.length < 2) return;
  $("send").disabled = true;
  say("Publishing");
  const began = Date.now();
  state.watching = { began, text, mid: null, there: {} };
  drawRace();
  try {
    const demo = (await call("/sandbox/demo")).body;
    const message = { tid: demo.tid, msg: text, urgency: Number($("urgency").value), ...(subject && { subject }) };
    const sent = Date.now();
    state.watching.began = sent;
    const { headers } = await call("/api/v2/publish", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${demo.token}` },
      body: JSON.stringify(message),
    });
    state.watching.mid = bare((headers.get("location") || "").split("/").pop());
    say(`Accepted by the exchange in ${Date.now() - sent} ms`);
    const watched = state.watching;
    setTimeout(() => giveUp(watched), WATCH_MS);
  } catch (error) {
    state.watching = null;
    $("race").replaceChildren();
    say(error.status === 404 ? "This sandbox runs without an exchange, so there is nothing to publish with." : `Not accepted: ${error.message}`, true);
  } finally {
    $("send").disabled = false;
  }
}

// fault: how the provider refused it, "" when it arrived. A later arrival replaces a refusal: it was tried again.
function reached(channel, mid, text, at, fault = "") {
  const watched = state.watching;
  const own = watched && (watched.mid && mid ? bare(mid) === watched.mid : text === watched.text && at >= watched.began - 5);
  if (!own || (watched.there[channel] && !watched.there[channel].fault)) return;
  watched.there[channel] = { ms: Math.max(0, at - watched.began), fault };
  drawRace();
  const all = Object.keys(CHANNELS).map((name) => watched.there[name]);
  if (all.every((one) => one && !one.fault)) {
    say(`On all six channels after ${Math.max(...all.map((one) => one.ms))} ms`);
    state.watching = null;
  }
}

function giveUp(watched) {
  if (state.watching !== watched) return;
  drawRace(true);
  state.watching = null;
}

function drawRace(late = false) {
  const { there } = state.watching;
  $("race").replaceChildren(...Object.entries(CHANNELS).map(([channel, name]) => {
    const one = there[channel];
    const [kind, words] = one?.fault ? ["refused", one.fault] : one ? ["there", `${one.ms} ms`] : late ? ["late", "not here"] : ["", "…"];
    return element("li", { class: kind }, name, element("b", { text: words }));
  }));
}

function say(text, bad = false) {
  $("said").textContent = text;
  $("said").className = bad ? "said bad" : "said";
}

// A device the exchange has retired (410, say) stays retired; a new one enlists as an app or a page would.
async function enlist(channel) {
  const kinds = { apns: ["/sandbox/devices", { os: "ios" }], fcm: ["/sandbox/devices", { os: "android" }], webpush: ["/sandbox/subscriptions", {}] };
  const [path, wish] = kinds[channel];
  try {
    const device = (await call(path, { method: "POST", body: JSON.stringify(wish) })).body;
    const demo = (await call("/sandbox/demo")).body;
    await call("/api/v2/enlist", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${demo.token}` },
      body: JSON.stringify(device),
    });
    say(`Enlisted a new device: ${CHANNELS[channel]}`);
  } catch (error) {
    say(`Not enlisted: ${error.message}`, true);
  }
}

// The web socket

async function connect() {
  try {
    const demo = (await call("/sandbox/demo")).body;
    const url = new URL(demo.ws_url);
    url.host = location.host;
    const socket = new WebSocket(url);
    state.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ slug: "/api/v2/subscribe/thread", tid: demo.tid, jwt: demo.token }));
    socket.onmessage = (event) => { state.attempts = 0; hear(event.data); };
    socket.onclose = reconnect;
  } catch (error) {
    if (error.status === 404) $("socket-state").textContent = "This sandbox runs without an exchange";
    else reconnect();
  }
}

function reconnect() {
  const pause = RECONNECT_MS[Math.min(state.attempts++, RECONNECT_MS.length - 1)];
  $("socket-state").textContent = "Not connected; trying again";
  setTimeout(connect, pause);
}

function hear(data) {
  const now = new Date();
  let said = {};
  try { said = JSON.parse(data); } catch { /* shown as it is */ }
  const isMessage = typeof said.msg === "string";
  const words = isMessage ? [said.subject, said.msg].filter(Boolean).join(": ")
    : said.data?.action === "subscribed" ? `Subscribed to ${said.data.slug}` : said.error ? "Error" : said.slug || "Frame";
  frame(words, data, now);
  if (said.data?.action === "subscribed") $("socket-state").textContent = `Connected, follows ${said.data.slug}`;
  if (isMessage) {
    count("websocket", 1);
    reached("websocket", said.mid, said.msg, now.getTime());
  }
}

function frame(words, data, at) {
  put("websocket", "", [
    element("div", { class: "head" }, data ? `${data.length} characters` : "", when(at.toISOString())),
    element("div", { text: words }),
    ...(data ? [element("pre", { text: data })] : []),
  ]);
}

// Requests and rules

function answerOf(item) {
  return item.status === null ? "no answer" : String(item.status);
}

function drawLog() {
  state.log.length = Math.min(state.log.length, LOG_MAX);
  const shown = $("only-faults").checked ? state.log.filter((item) => !item.arrived) : state.log;
  $("log").replaceChildren(...shown.map((item) => {
    const open = element("button", { class: "quiet", type: "button", text: "Look", "aria-label": `Look into request ${item.request}` });
    open.addEventListener("click", () => detail(item.request));
    return element("tr", {},
      element("td", {}, when(item.received_at)), element("td", { text: CHANNELS[item.channel] }),
      element("td", { class: item.arrived ? "ok" : "fault", text: answerOf(item) }),
      element("td", { class: "address", text: item.address, title: item.address }), element("td", {}, open));
  }));
}

async function detail(number) {
  const { body } = await call(`/sandbox/requests/${number}`);
  $("detail-title").textContent = `Request ${number}`;
  const facts = { Provider: body.provider, Request: `${body.method} ${body.target}`, Received: body.received_at, Answered: body.status ?? `no answer (${body.fault})` };
  $("detail-facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [element("dt", { text: name }), element("dd", { text: String(value) })]));
  $("detail-headers").textContent = Object.entries(body.headers).map(([name, value]) => `${name}: ${value}`).join("\n") || "(none)";
  $("detail-body").textContent = pretty(body.payload) || "(none)";
  $("detail").showModal();
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

const answersOf = (channel) => [...ANSWERS[channel], ...EVERYWHERE];

function offer() {
  const answers = answersOf($("rule-channel").value);
  $("rule-action").replaceChildren(...answers.map(([words], index) => element("option", { value: index, text: words })));
}

async function addRule(event) {
  event.preventDefault();
  const channel = $("rule-channel").value;
  const action = answersOf(channel)[Number($("rule-action").value)][1];
  const rule = { channel, action, count: Number($("rule-count").value) || 1 };
  const { body } = await call("/sandbox/rules", { method: "POST", body: JSON.stringify(rule) });
  drawRules(body.items);
}

function describe(rule) {
  const known = answersOf({ twilio: "sms", sendgrid: "email", smtp: "email" }[rule.channel] || rule.channel).find(([, action]) => action.type === rule.action.type && (action.reason || "") === (rule.action.reason || "") && action.status === rule.action.status);
  const what = known ? known[0] : [rule.action.type, rule.action.status, rule.action.reason].filter(Boolean).join(" ");
  const where = rule.match === "any" ? "" : ` for ${rule.match === "prefix" ? "addresses starting with " : ""}${rule.address.slice(0, 24)}`;
  return `${CHANNELS[rule.channel] || rule.channel}${where}: ${what}, ${rule.count === null ? "always" : rule.count === 1 ? "once" : `${rule.count} times`}`;
}

function drawRules(rules) {
  $("rules").replaceChildren(...rules.map((rule) => element("li", { text: describe(rule) })));
  $("clear-rules").hidden = rules.length === 0;
}

async function refreshRules() {
  try { drawRules((await call("/sandbox/rules")).body.items); } catch { /* the live mark says it */ }
}

function tick() {
  const now = new Date();
  const time = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = now.toLocaleDateString([], { weekday: "long", month: "long", day: "numeric" });
  document.querySelectorAll(".clock .time").forEach((node) => { node.textContent = time; });
  document.querySelectorAll(".clock .day").forEach((node) => { node.textContent = day; });
}

$("compose").addEventListener("submit", publish);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("compose").requestSubmit();
});
$("only-faults").addEventListener("change", drawLog);
$("rule-channel").addEventListener("change", offer);
$("rule").addEventListener("submit", addRule);
$("clear-rules").addEventListener("click", async () => { await call("/sandbox/rules", { method: "DELETE" }); refreshRules(); });
$("close-detail").addEventListener("click", () => $("detail").close());
document.querySelectorAll("[data-enlist]").forEach((button) => button.addEventListener("click", () => enlist(button.dataset.enlist)));
offer();
tick();
setInterval(tick, 5000);
setInterval(refreshRules, 3000);
refreshRules();
connect();
follow();
