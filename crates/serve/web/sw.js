// The service worker: keeps the page itself, so that it opens without the server and the history can be read.
//
// The server is asked first, always: it is near, and a new version of nibble then shows its new page at once, never a mix of
// two. Only when it does not answer is the kept copy taken. What is asked under /api never comes here.
"use strict";

const KEPT = "nibble-page";
const WAIT = 4000; // ms for an answer, after which the kept copy is shown
// Held by a test against the table in crates/serve/src/web.rs.
const FILES = [
  "./",
  "./manifest.webmanifest",
  "./ui/answers.js",
  "./ui/api.js",
  "./ui/app.js",
  "./ui/bus.js",
  "./ui/chats.js",
  "./ui/composer.js",
  "./ui/connection.js",
  "./ui/dom.js",
  "./ui/drawer.js",
  "./ui/errors.js",
  "./ui/highlight.js",
  "./ui/icon-192.png",
  "./ui/icon-512.png",
  "./ui/icon-maskable-512.png",
  "./ui/icon.svg",
  "./ui/inline.js",
  "./ui/markdown.js",
  "./ui/messages.js",
  "./ui/models.js",
  "./ui/ndjson.js",
  "./ui/options.js",
  "./ui/render.js",
  "./ui/settings.js",
  "./ui/store.js",
  "./ui/style.css",
  "./ui/text.css",
  "./ui/theme.js",
  "./ui/think.js",
  "./ui/tree.js",
];
const addresses = new Set(FILES.map((file) => new URL(file, self.location).href));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(FILES.map((file) => new Request(file, { cache: "no-cache", headers: { Accept: "text/html, */*" } })))));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const kept = await caches.open(KEPT);
      for (const request of await kept.keys()) if (!addresses.has(request.url)) await kept.delete(request);
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  url.hash = "";
  url.search = "";
  if (request.method === "GET" && addresses.has(url.href)) event.respondWith(page(request, url.href));
});

async function page(request, address) {
  const kept = await caches.open(KEPT);
  try {
    const response = await fetch(request, { signal: AbortSignal.timeout(WAIT) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    await kept.put(address, response.clone());
    return response;
  } catch {
    return (await kept.match(address, { ignoreVary: true })) ?? Response.error();
  }
}
