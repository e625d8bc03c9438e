// The chats, the one that is open, and what can be done to them. Changes are written at once and told by `emit`:
// "chats" (the list), "chat" (another one is open), "messages" (the open one's way changed).

import * as store from "./store.js";
import { below, newId, newestLeaf, path, siblings, titleOf } from "./tree.js";
import { emit } from "./bus.js";

/** `list`: id to chat. `open`: the open one. `messages`: id to message of the open one. */
export const state = { list: new Map(), open: null, messages: new Map() };

// Other tabs of the page: each reads anew what another has written.
const others = "BroadcastChannel" in globalThis ? new BroadcastChannel("nibble") : null;
const tell = (chat) => others?.postMessage({ chat });

export async function load() {
  state.list = new Map((await store.chats()).map((chat) => [chat.id, chat]));
  others?.addEventListener("message", async ({ data }) => {
    const open = state.open;
    for (const chat of await store.chats()) if (chat.id !== open?.id || open.id === data.chat) state.list.set(chat.id, chat);
    emit("chats");
    // Not while this tab is itself at work in that chat.
    if (open && data.chat === open.id && !hooks.busy(open.id)) await select(open.id);
  });
}

let hooks = { busy: () => false, prepare: async () => {} };
/** answers.js says which chats are being answered here, and mends what was cut off before it is shown. */
export const setHooks = (own) => (hooks = own);

/** A chat that is written when its first message is. */
export function fresh(model = null) {
  const now = Date.now();
  state.open = { id: newId(), title: "New chat", created: now, updated: now, model, settings: {}, leaf: null, unsaved: true };
  state.messages = new Map();
  emit("chat");
}

export async function select(id) {
  const chat = state.list.get(id);
  if (!chat) return false;
  const messages = await store.messages(id);
  const map = new Map(messages.map((message) => [message.id, message]));
  await hooks.prepare(id, map);
  state.open = chat;
  state.messages = map;
  emit("chat");
  return true;
}

export const shown = () => (state.open ? path(state.messages, state.open.leaf) : []);
export const versions = (message) => siblings(state.messages, message);

export async function saveChat(chat, messages = []) {
  const { unsaved, ...record } = chat;
  delete chat.unsaved;
  state.list.set(chat.id, chat);
  try {
    await store.put([record], messages);
  } catch (error) {
    emit("trouble", `The history could not be saved: ${error?.message ?? "the browser refused"}`);
  }
  emit("chats");
  tell(chat.id);
}

/** Saves a growing answer, without telling everyone. */
export const saveMessage = (message) => store.put([], [message]).catch(() => {});
export const tellOthers = tell;

/** Adds a message behind `parent` and shows the way to it. */
export async function add(chat, messages, message) {
  const whole = { id: newId(), chat: chat.id, created: Date.now(), thinking: "", ...message };
  messages.set(whole.id, whole);
  chat.leaf = whole.id;
  chat.updated = Date.now();
  if (whole.role === "user" && whole.parent === null && !chat.named) chat.title = titleOf(whole.content);
  await saveChat(chat, [whole]);
  if (chat === state.open) emit("messages");
  return whole;
}

/** Shows another version of a message. */
export async function turn(message, step) {
  const all = versions(message);
  const other = all[all.indexOf(message) + step];
  if (!other) return;
  state.open.leaf = newestLeaf(state.messages, other).id;
  await saveChat(state.open);
  emit("messages");
}

/** Deletes a message and what follows from it; gives the way back. */
export async function removeMessage(message) {
  const chat = state.open;
  const messages = state.messages;
  const gone = below(messages, message);
  const leaf = chat.leaf;
  for (const each of gone) messages.delete(each.id);
  const other = siblings(messages, message).at(-1);
  chat.leaf = other ? newestLeaf(messages, other).id : message.parent;
  await store.remove([], gone.map((each) => each.id));
  await saveChat(chat);
  emit("messages");
  return async () => {
    for (const each of gone) messages.set(each.id, each);
    chat.leaf = leaf;
    await saveChat(chat, gone);
    if (chat === state.open) emit("messages");
  };
}

export async function rename(chat, title) {
  chat.title = title.trim() || chat.title;
  chat.named = true;
  await saveChat(chat);
}

/** Deletes a chat; gives the way back. */
export async function removeChat(chat) {
  const messages = await store.messages(chat.id);
  await store.remove([chat.id], messages.map((message) => message.id));
  state.list.delete(chat.id);
  store.small.set(`draft.${chat.id}`, null);
  emit("chats");
  tell(chat.id);
  return () => saveChat(chat, messages);
}

export async function removeAll() {
  await store.clear();
  state.list.clear();
  emit("chats");
}

/** Adds what an export holds; a chat that is here already is replaced. Gives how many. */
export async function take(text) {
  const { chats, messages } = store.imported(text);
  const old = [];
  for (const chat of chats) if (state.list.has(chat.id)) old.push(...(await store.messages(chat.id)).map((message) => message.id));
  await store.remove([], old);
  await store.put(chats, messages);
  for (const chat of chats) state.list.set(chat.id, chat);
  emit("chats");
  if (chats.some((chat) => chat.id === state.open?.id)) await select(state.open.id);
  return chats.length;
}

/** The chats in whose title or messages all the words stand, newest first. */
export async function search(text) {
  const all = [...state.list.values()].sort((a, b) => b.updated - a.updated);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return all;
  const texts = new Map(all.map((chat) => [chat.id, [chat.title]]));
  for (const message of await store.messages()) texts.get(message.chat)?.push(message.content);
  return all.filter((chat) => {
    const whole = texts.get(chat.id).join("\n").toLowerCase();
    return words.every((word) => whole.includes(word));
  });
}
