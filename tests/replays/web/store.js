// What the page and its service worker share: one IndexedDB of names and values, and what either was surprised by.
"use strict";

const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open("replayed-web-push", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("values");
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

async function within(mode, act) {
  const values = (await opened).transaction("values", mode).objectStore("values");
  const request = act(values);
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

const store = {
  get: (name) => within("readonly", (values) => values.get(name)),
  set: (name, value) => within("readwrite", (values) => values.put(value, name)),
  async clear(...kept) {
    const before = await Promise.all(kept.map((name) => store.get(name)));
    await within("readwrite", (values) => values.clear());
    await Promise.all(kept.map((name, index) => store.set(name, before[index])));
  },
};

async function surprised(what) {
  await store.set("surprises", [...((await store.get("surprises")) ?? []), what]);
}
