// Which models the server has, and the sheet in which one is chosen.

import * as api from "./api.js";
import { saveChat, state } from "./chats.js";
import { byId, bytes, icon, make } from "./dom.js";
import { emit, on } from "./bus.js";
import { explain } from "./errors.js";
import { effective } from "./options.js";
import { small } from "./store.js";

export const models = { list: null, running: [], trouble: null };
const details = new Map(); // digest or name to what /api/show says

export async function refresh() {
  try {
    [models.list, models.running] = await Promise.all([api.tags(), api.running().catch(() => [])]);
    models.trouble = null;
  } catch (error) {
    models.trouble = error;
  }
  settle();
  emit("models");
}

/** Sees to it that the open chat has a model: its own, the last one used, or the first there is. */
export function settle() {
  const chat = state.open;
  if (!chat || chat.model || !models.list?.length) return;
  const last = small.get("model");
  chat.model = (models.list.find((model) => model.name === last) ?? models.list[0]).name;
}

/** Names without a tag mean `latest`, as Ollama reads them. */
const plain = (name) => (name ?? "").replace(/:latest$/, "");
const find = (list, name) => list?.find((model) => plain(model.name) === plain(name)) ?? null;

/** Why the open chat's model cannot answer, or null. */
export const missing = (chat) => models.list !== null && chat.model && !find(models.list, chat.model);

export async function choose(name) {
  const chat = state.open;
  chat.model = name;
  small.set("model", name);
  if (!chat.unsaved) await saveChat(chat);
  emit("models");
}

async function detailsOf(name) {
  const key = find(models.list, name)?.digest ?? name;
  if (!details.has(key)) details.set(key, await api.show(name));
  return details.get(key);
}

const modelContext = (shown) => Object.entries(shown.model_info ?? {}).find(([key]) => key.endsWith(".context_length"))?.[1] ?? 0;

/** Tokens that the context of a chat holds: as set, as the model runs, or as it could; 0 if nobody knows. */
export async function contextOf(chat) {
  const set = effective(chat.settings).options.num_ctx;
  models.running = await api.running().catch(() => models.running);
  const run = find(models.running, chat.model)?.context_length;
  if (run) return set ? Math.min(set, run) : run;
  return set ?? modelContext(await detailsOf(chat.model));
}

/** A name that a phone's line can hold: without the registry, and the tag only if it says something. */
export const shortName = (name) => plain(name).split("/").pop();

function describe(model) {
  const { parameter_size, quantization_level } = model.details ?? {};
  return [parameter_size, quantization_level, bytes(model.size)].filter(Boolean).join(" · ");
}

export async function openModels() {
  const dialog = byId("models");
  if (dialog.open) return;
  // Most often the server says all this at once, and then nothing moves below a finger that is on its way down.
  const known = Promise.all([refresh(), detailsOf(state.open.model).catch(() => {})]);
  await Promise.race([known, new Promise((resolve) => setTimeout(resolve, 250))]);
  drawn = "";
  show(dialog);
  dialog.showModal();
}

on("models", () => byId("models").open && show(byId("models")));

let drawn = ""; // what the sheet shows: the same is not drawn again

function show(dialog) {
  const chat = state.open;
  const now = JSON.stringify([models.list, models.running.map(({ name }) => name), models.trouble?.message, chat.model]);
  if (now === drawn) return;
  drawn = now;
  const list = make("ul.model-list");
  for (const model of models.list ?? []) {
    const chosen = plain(model.name) === plain(chat.model);
    const loaded = find(models.running, model.name) !== null;
    const pick = () => (choose(model.name), dialog.close());
    list.append(make("li", {},
      make("button.model", { type: "button", onclick: pick, "aria-pressed": String(chosen), autofocus: chosen },
        make("span.model-name", {}, model.name), make("span.model-meta", {}, describe(model), loaded && make("span.badge", {}, "in memory")),
        chosen && icon("check")),
      chosen && more(model.name)));
  }
  const body = dialog.querySelector(".dialog-body");
  const { title, text } = models.trouble ? explain(models.trouble) : {};
  body.replaceChildren(
    ...[
      models.trouble && make("div.callout.bad", {}, make("strong", {}, title), make("p", {}, text)),
      models.list?.length === 0 && make("div.callout", {}, make("strong", {}, "No model yet"), make("p", {}, "Get one in a terminal: ", make("code", {}, "nibble pull NAME"))),
      models.list === null && !models.trouble && make("p.hint", {}, "Asking the server…"),
      models.list?.length > 0 && list,
      models.list?.length > 0 && make("p.hint", {}, "More models: ", make("code", {}, "nibble pull NAME"), " in a terminal."),
    ].filter(Boolean),
  );
}

/** What else is known of the chosen model, filled in when the server has said it. */
function more(name) {
  const box = make("div.model-more");
  detailsOf(name)
    .then((shown) => {
      const context = modelContext(shown);
      const able = (shown.capabilities ?? []).filter((word) => word !== "completion");
      const line = [context && `context up to ${context.toLocaleString()} tokens`, able.length && `can: ${able.join(", ")}`].filter(Boolean).join(" · ");
      if (line) box.append(make("p.hint", {}, line));
      // Made by `nibble compare`, and only there if the server was given one. A link cannot carry the key.
      if (!small.get("key") && typeof shown.compare === "string" && shown.compare.startsWith("/compare/")) {
        box.append(make("a.button", { href: `.${shown.compare}`, target: "_blank", rel: "noopener" }, "How it compares", icon("link")));
      }
    })
    .catch(() => {});
  return box;
}
