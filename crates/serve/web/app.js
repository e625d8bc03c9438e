// Begins the page, and what belongs to no part alone: the address, the keys, the keyboard's room, the notice about the server.

import * as store from "./store.js";
import { answering, anyRunning, stop } from "./answers.js";
import { fresh, load, select, state } from "./chats.js";
import { check, connection } from "./connection.js";
import { byId, icon, make, toast } from "./dom.js";
import { emit, on } from "./bus.js";
import { fill, focusInput } from "./composer.js";
import { closeDrawer, newChat, openDrawer } from "./drawer.js";
import { models, missing, openModels, refresh, settle, shortName } from "./models.js";
import { openSettings } from "./settings.js";
import "./messages.js";

for (const holder of document.querySelectorAll("[data-icon]")) holder.prepend(icon(holder.dataset.icon));

// ---- the address says which chat is open, so that a reload and the back button find it

const inAddress = () => /^#chat=([a-z0-9]+)$/.exec(location.hash)?.[1] ?? null;

on("chat", () => {
  const { open } = state;
  if (inAddress() !== (open.unsaved ? null : open.id)) {
    history.pushState(null, "", open.unsaved ? location.pathname + location.search : `#chat=${open.id}`);
  }
});
on("messages", () => {
  if (!state.open.unsaved && inAddress() !== state.open.id) history.replaceState(null, "", `#chat=${state.open.id}`);
});
addEventListener("popstate", async () => {
  const id = inAddress();
  if (!id) newChat();
  else if (id !== state.open?.id && !(await select(id))) newChat();
});

// ---- the head: title and model

function drawHead() {
  const chat = state.open;
  document.title = chat.unsaved ? "nibble" : `${chat.title} · nibble`;
  byId("chat-title").textContent = chat.title;
  const name = byId("model-name");
  name.textContent = chat.model ? shortName(chat.model) : models.list?.length === 0 ? "No model" : "Choose a model";
  byId("model-button").setAttribute("aria-label", `Model: ${chat.model ?? "none"}. Choose another`);
  byId("model-button").classList.toggle("missing", Boolean(missing(chat)));
}
on("chat", settle); // before the head is drawn, which shows what was settled on
for (const name of ["chat", "chats", "models"]) on(name, drawHead);

// Where there is nothing to ask, the way to a model stands in the place of what could be asked.
on("models", () => {
  const none = models.list?.length === 0;
  byId("no-model").hidden = !none;
  document.querySelector(".starters").hidden = none;
});
// Who has fetched one meanwhile comes back to a page that knows it.
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && models.list?.length === 0 && refresh());

byId("model-button").addEventListener("click", openModels);
byId("settings-button").addEventListener("click", () => openSettings());
byId("settings-drawer").addEventListener("click", () => {
  closeDrawer();
  openSettings();
});
on("new", newChat);

for (const button of document.querySelectorAll(".starter")) button.addEventListener("click", () => fill(button.textContent));

// ---- dialogs close by their button, by a tap beside them, and by Escape (which the browser does)

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close-dialog").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

// ---- keys

addEventListener("keydown", (event) => {
  const control = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]") && answering(state.open.id)) {
    stop(state.open.id);
  } else if (control && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openDrawer();
    byId("search").focus();
  } else if (control && event.shiftKey && event.key.toLowerCase() === "o") {
    event.preventDefault();
    newChat();
  }
});

// ---- the keyboard's room: browsers that do not shrink the page for it tell by the visual viewport

const view = globalThis.visualViewport;
function room() {
  if (!view || view.scale > 1.01) return; // zoomed by hand: leave it
  document.documentElement.style.setProperty("--height", `${view.height}px`);
  if (view.offsetTop > 0) scrollTo(0, 0);
}
view?.addEventListener("resize", room);
view?.addEventListener("scroll", room);
room();

// ---- the server

on("connection", (up, before) => {
  const notice = byId("notice");
  notice.hidden = up;
  if (!up) {
    notice.replaceChildren(make("span", {}, "The server is not reachable. Your chats can be read; is “nibble serve” running?"),
      make("button.text-button", { type: "button", onclick: check }, "Try now"));
  } else if (!before) {
    toast("The server is back");
    refresh();
  }
});
on("key", async () => {
  await check();
  await refresh();
});
on("trouble", (text) => toast(text));

// An answer is kept when the page goes away, but it ends: the browser asks first, where it does.
addEventListener("beforeunload", (event) => anyRunning() && event.preventDefault());

// ---- offline

async function installShell() {
  if (!("serviceWorker" in navigator)) return; // plain http from another machine: everything works but this
  // The page's policy lets no text become a script's address, except through this one rule.
  const policy = globalThis.trustedTypes?.createPolicy("nibble", {
    createScriptURL: (address) => {
      if (address === "./sw.js") return address;
      throw new TypeError("only the service worker may be loaded");
    },
  });
  await navigator.serviceWorker.register(policy?.createScriptURL("./sw.js") ?? "./sw.js");
}

async function begin() {
  const lasting = await store.open();
  await load();
  const id = inAddress();
  if (!(id && (await select(id)))) fresh();
  emit("chats");
  if (!lasting) toast("This browser keeps no history: it will be gone when the page is closed");
  focusInput();
  installShell().catch(() => {});
  // Keeps the history when the disk runs short; browsers decide by themselves, and only ask where they must.
  if (lasting) navigator.storage?.persist?.().catch(() => {});
  if (await check()) await refresh();
  else emit("models");
  document.documentElement.dataset.ready = "";
}

begin();
