// The history, kept in this browser: IndexedDB, or memory where the browser gives none (private windows of some).
// A chat is `{id, title, created, updated, model, settings, leaf}`; its messages lie beside it with their own ids, so that
// an answer that grows is written alone.

const VERSION = 1;
let backend = null;

/** Opens the store; false if nothing will outlive this page. */
export async function open() {
  try {
    backend = new Database(await connect());
    return true;
  } catch {
    backend = new Memory();
    return false;
  }
}

function connect() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("nibble", VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("chats", { keyPath: "id" });
      request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("chat", "chat");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error ?? new Error("blocked"));
    // Some browsers never answer in private windows.
    setTimeout(() => reject(new Error("no answer")), 5000);
  });
}

class Database {
  constructor(db) {
    this.db = db;
    // A newer page in another tab wants to change the layout: let it.
    db.onversionchange = () => db.close();
  }
  run(mode, work) {
    return new Promise((resolve, reject) => {
      const change = this.db.transaction(["chats", "messages"], mode);
      const request = work(change.objectStore("chats"), change.objectStore("messages"));
      change.oncomplete = () => resolve(request?.result);
      change.onerror = change.onabort = () => reject(change.error);
    });
  }
  chats = () => this.run("readonly", (chats) => chats.getAll());
  messages = (chat) => this.run("readonly", (_, messages) => (chat ? messages.index("chat").getAll(chat) : messages.getAll()));
  put = (chats, messages) =>
    this.run("readwrite", (toChats, toMessages) => {
      for (const chat of chats) toChats.put(chat);
      for (const message of messages) toMessages.put(message);
    });
  remove = (chats, messages) =>
    this.run("readwrite", (fromChats, fromMessages) => {
      for (const id of chats) fromChats.delete(id);
      for (const id of messages) fromMessages.delete(id);
    });
  clear = () =>
    this.run("readwrite", (chats, messages) => {
      chats.clear();
      messages.clear();
    });
}

class Memory {
  constructor() {
    this.all = { chats: new Map(), messages: new Map() };
  }
  chats = async () => [...this.all.chats.values()];
  messages = async (chat) => [...this.all.messages.values()].filter((message) => !chat || message.chat === chat);
  put = async (chats, messages) => {
    for (const chat of chats) this.all.chats.set(chat.id, structuredClone(chat));
    for (const message of messages) this.all.messages.set(message.id, structuredClone(message));
  };
  remove = async (chats, messages) => {
    for (const id of chats) this.all.chats.delete(id);
    for (const id of messages) this.all.messages.delete(id);
  };
  clear = async () => {
    this.all.chats.clear();
    this.all.messages.clear();
  };
}

export const chats = () => backend.chats();
/** The messages of a chat, or of all. */
export const messages = (chat) => backend.messages(chat);
export const put = (chats, messages = []) => backend.put(chats, messages);
export const remove = (chats, messages) => backend.remove(chats, messages);
export const clear = () => backend.clear();

/** Small things that must be there before anything is shown: theme, key, defaults, drafts. */
export const small = {
  get(name, otherwise = null) {
    try {
      return JSON.parse(localStorage.getItem(`nibble.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      if (value === null || value === undefined || value === "") localStorage.removeItem(`nibble.${name}`);
      else localStorage.setItem(`nibble.${name}`, JSON.stringify(value));
    } catch {
      // Full or forbidden: the value lasts as long as the page.
    }
  },
};

const FORMAT = "nibble-chats";

/** Everything as one JSON text. */
export async function exported() {
  const all = await messages();
  const list = (await chats()).map((chat) => ({ ...chat, messages: all.filter((message) => message.chat === chat.id) }));
  return JSON.stringify({ format: FORMAT, version: 1, exported: new Date().toISOString(), chats: list }, null, 1);
}

/** Reads such a text; gives the chats and messages in it. What does not fit is an error that says where. */
export function imported(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new Error(`this is not JSON: ${error.message}`);
  }
  if (data?.format !== FORMAT || !Array.isArray(data.chats)) throw new Error(`this is not an export of nibble's chats ("format" is not "${FORMAT}")`);
  const out = { chats: [], messages: [] };
  const text_ = (value, where) => {
    if (typeof value !== "string") throw new Error(`${where} is not a text`);
    return value;
  };
  data.chats.forEach((entry, i) => {
    const where = `chats[${i}]`;
    const { messages: list, ...chat } = entry ?? {};
    if (!Array.isArray(list)) throw new Error(`${where}.messages is not a list`);
    const time = (value) => (Number.isFinite(value) ? value : Date.now());
    out.chats.push({
      id: text_(chat.id, `${where}.id`),
      title: text_(chat.title, `${where}.title`),
      created: time(chat.created),
      updated: time(chat.updated),
      model: typeof chat.model === "string" ? chat.model : null,
      settings: chat.settings && typeof chat.settings === "object" ? chat.settings : {},
      leaf: typeof chat.leaf === "string" ? chat.leaf : null,
    });
    list.forEach((message, j) => {
      const at = `${where}.messages[${j}]`;
      if (!["user", "assistant"].includes(message?.role)) throw new Error(`${at}.role is neither user nor assistant`);
      out.messages.push({
        ...message,
        id: text_(message.id, `${at}.id`),
        content: text_(message.content, `${at}.content`),
        parent: typeof message.parent === "string" ? message.parent : null,
        chat: chat.id,
      });
    });
  });
  return out;
}
