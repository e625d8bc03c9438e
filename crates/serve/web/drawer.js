// The list of chats: a drawer on narrow screens, a side bar on wide ones.

import { answering } from "./answers.js";
import { fresh, removeChat, rename, search, select, state } from "./chats.js";
import { byId, icon, iconButton, make, toast } from "./dom.js";
import { on } from "./bus.js";
import { focusInput } from "./composer.js";
import { settle } from "./models.js";

const drawer = byId("drawer");
const scrim = byId("scrim");
const wide = matchMedia("(min-width: 860px)");
let watcher = null;

export function openDrawer() {
  if (wide.matches) return;
  document.body.classList.add("drawer-open");
  drawer.inert = false;
  byId("main").inert = true;
  byId("new-chat").focus();
  // The back gesture of a phone closes the drawer instead of leaving the page, where the browser has this.
  if ("CloseWatcher" in globalThis) {
    watcher = new CloseWatcher();
    watcher.onclose = closeDrawer;
  }
}

export function closeDrawer() {
  const was = document.body.classList.contains("drawer-open");
  document.body.classList.remove("drawer-open");
  drawer.inert = !wide.matches;
  byId("main").inert = false;
  watcher?.destroy();
  watcher = null;
  if (was) byId("menu").focus();
}

wide.addEventListener("change", closeDrawer);
scrim.addEventListener("click", closeDrawer);
byId("close-drawer").addEventListener("click", closeDrawer);
drawer.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !wide.matches) closeDrawer();
});

/** Swiping right opens, swiping left closes; not where a table or code scrolls sideways itself. */
function swipes() {
  let start = null;
  addEventListener("touchstart", (event) => {
    const sideways = event.target.closest?.("pre, .table, textarea, input, dialog");
    start = event.touches.length === 1 && !sideways ? { x: event.touches[0].clientX, y: event.touches[0].clientY, at: event.timeStamp } : null;
  }, { passive: true });
  addEventListener("touchend", (event) => {
    if (!start || wide.matches || !document.getSelection().isCollapsed) return;
    const dx = event.changedTouches[0].clientX - start.x;
    const dy = event.changedTouches[0].clientY - start.y;
    const quick = event.timeStamp - start.at < 600;
    if (!quick || Math.abs(dx) < 60 || Math.abs(dx) < 2 * Math.abs(dy)) return;
    if (dx > 0) openDrawer();
    else if (document.body.classList.contains("drawer-open")) closeDrawer();
  }, { passive: true });
}
swipes();

export function newChat() {
  if (!state.open?.unsaved) fresh();
  settle();
  closeDrawer();
  focusInput();
}

const DAY = 86400000;
function group(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY) return "Yesterday";
  if (time >= midnight - 7 * DAY) return "Last week";
  return new Date(time).toLocaleDateString(undefined, { month: "long", year: "numeric" });
}

let turn = 0;
async function draw() {
  const mine = ++turn;
  const text = byId("search").value;
  const found = await search(text);
  if (mine !== turn) return; // a newer look at the list is under way
  const list = byId("chats");
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : null;
  const children = [];
  let last = "";
  for (const chat of found) {
    const name = group(chat.updated);
    if (name !== last) children.push(make("li.chat-group", { role: "presentation" }, name));
    last = name;
    const open = chat.id === state.open?.id;
    const item = make("li.chat", {},
      make("button.chat-open", { type: "button", "aria-current": open ? "true" : null, onclick: () => pick(chat) },
        answering(chat.id) && make("span.dot", { title: "Answering" }), make("span", {}, chat.title)),
      iconButton("more", `More about “${chat.title}”`, (event) => menu(chat, event.currentTarget), { "aria-haspopup": "dialog" }));
    item.dataset.id = chat.id;
    children.push(item);
  }
  if (children.length === 0) children.push(make("li.hint", {}, text ? "Nothing found." : "Your chats will be here. They stay in this browser."));
  list.replaceChildren(...children);
  if (focused) list.querySelector(`[data-id="${focused}"] button`)?.focus();
}

async function pick(chat) {
  closeDrawer();
  if (chat.id !== state.open?.id) await select(chat.id);
  settle();
  focusInput();
}

/** Renaming and deleting, in a small sheet: a phone's thumb cannot hover. */
function menu(chat, from) {
  const dialog = byId("chat-menu");
  const name = make("input", { type: "text", value: chat.title, maxLength: 200, "aria-label": "Title of the chat", name: "title" });
  const remove = async () => {
    dialog.close();
    const undo = await removeChat(chat);
    if (chat.id === state.open?.id) newChat();
    toast("Chat deleted", { label: "Undo", run: undo });
  };
  const form = make("form", { onsubmit: (event) => (event.preventDefault(), rename(chat, name.value), dialog.close()) }, name,
    make("div.buttons", {}, make("button.button.danger", { type: "button", onclick: remove }, icon("trash"), "Delete"), make("button.button.main", { type: "submit" }, "Rename")));
  dialog.querySelector(".dialog-body").replaceChildren(form);
  dialog.onclose = () => from.isConnected && from.focus();
  dialog.showModal();
  name.focus();
  name.select();
}

let pause = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(draw, 120);
});
byId("menu").addEventListener("click", openDrawer);
for (const id of ["new-chat", "new-chat-top"]) byId(id).addEventListener("click", newChat);
on("chats", draw);
on("chat", draw);
on("answered", draw);
closeDrawer();
