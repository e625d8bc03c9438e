// The sheet of settings: for this chat, for all new chats, and for the page itself. What is changed holds at once.

import { removeAll, saveChat, state, take } from "./chats.js";
import { connection } from "./connection.js";
import { byId, download, icon, make, toast } from "./dom.js";
import { emit, on } from "./bus.js";
import { checked, defaults, FIELDS, setDefaults } from "./options.js";
import { exported, small } from "./store.js";

const dialog = byId("settings");
let scope = "chat"; // or "all", or "page"

const SCOPES = [["chat", "This chat"], ["all", "All chats"], ["page", "Page"]];

export function openSettings(focus = null) {
  scope = focus === "key" ? "page" : "chat";
  draw();
  if (!dialog.open) dialog.showModal();
  if (focus) dialog.querySelector(`[name="${focus}"]`)?.focus();
}
on("settings", openSettings);

function draw() {
  const tabs = make("div.tabs", { role: "group", "aria-label": "Settings for" }, SCOPES.map(([name, label]) =>
    make("button", { type: "button", "aria-pressed": String(scope === name), onclick: () => {
      scope = name;
      draw();
      dialog.querySelector(".tabs [aria-pressed=true]").focus();
    } }, label)));
  dialog.querySelector(".dialog-body").replaceChildren(tabs, scope === "page" ? page() : form());
}

const values = () => (scope === "chat" ? state.open.settings : defaults());

async function set(key, value) {
  const all = { ...values() };
  if (value === null) delete all[key];
  else all[key] = value;
  if (scope === "all") return setDefaults(all);
  state.open.settings = all;
  if (!state.open.unsaved) await saveChat(state.open);
}

function form() {
  const box = make("div.fields");
  const intro = scope === "chat" ? "Only this chat. What is empty is as for all chats." : "Every chat that does not say otherwise. What is empty is as the model has it.";
  box.append(make("p.hint", {}, intro), ...FIELDS.map(control));
  const own = Object.keys(values()).length > 0;
  box.append(make("button.button", { type: "button", disabled: !own, onclick: async () => {
    if (scope === "all") setDefaults({});
    else {
      state.open.settings = {};
      if (!state.open.unsaved) await saveChat(state.open);
    }
    draw();
  } }, icon("retry"), "Empty all of these"));
  return box;
}

function control(field) {
  const id = `set-${field.key}`;
  const value = values()[field.key] ?? "";
  const inherited = scope === "chat" ? defaults()[field.key] : undefined;
  const fault = make("p.fault", { id: `${id}-fault`, role: "alert" });
  const common = { id, name: field.key, "aria-describedby": field.hint ? `${id}-hint ${id}-fault` : `${id}-fault` };
  let input;
  if (field.kind === "choice") {
    const label = (key) => field.choices.find(([name]) => name === key)?.[1] ?? key;
    const first = scope === "chat" ? [["", `As for all chats (${label(inherited ?? field.choices[0][0])})`]] : [];
    input = make("select", common, [...first, ...field.choices].map(([key, name]) => make("option", { value: key, selected: key === value }, name)));
  } else if (field.kind === "text") {
    input = make(`textarea${field.code ? ".code-input" : ""}`, { ...common, rows: 3, value, placeholder: inherited ?? "", spellcheck: !field.code });
  } else {
    const mode = field.kind === "number" ? "decimal" : field.min < 0 ? "text" : "numeric";
    input = make("input", { ...common, type: "text", inputMode: field.kind === "short" ? "text" : mode, value: String(value),
      placeholder: inherited === undefined ? "model’s own" : `${inherited}`, autocomplete: "off" });
  }
  input.addEventListener("change", () => {
    const { value: read, error } = checked(field, input.value);
    fault.textContent = error ?? "";
    input.setAttribute("aria-invalid", error ? "true" : "false");
    if (!error) set(field.key, field.kind === "choice" && scope === "all" && read === field.choices[0][0] ? null : read);
  });
  return make("div.field", {}, make("label", { htmlFor: id }, field.label), input,
    field.hint && make("p.hint", { id: `${id}-hint` }, field.hint), fault);
}

function choice(name, label, choices, run) {
  const id = `set-${name}`;
  const select = make("select", { id, name }, choices.map(([key, text]) => make("option", { value: key, selected: key === small.get(name, choices[0][0]) }, text)));
  select.addEventListener("change", () => {
    small.set(name, select.value === choices[0][0] ? null : select.value);
    run?.();
  });
  return make("div.field", {}, make("label", { htmlFor: id }, label), select);
}

function page() {
  const key = make("input", { id: "set-key", name: "key", type: "password", value: small.get("key", ""), autocomplete: "off", "aria-describedby": "set-key-hint" });
  key.addEventListener("change", () => {
    small.set("key", key.value.trim());
    emit("key");
  });
  const file = make("input", { type: "file", accept: ".json,application/json", hidden: true, "aria-label": "File to import" });
  file.addEventListener("change", async () => {
    if (!file.files[0]) return;
    try {
      const count = await take(await file.files[0].text());
      toast(`${count} ${count === 1 ? "chat" : "chats"} imported`);
      dialog.close();
    } catch (error) {
      toast(`Nothing was imported: ${error.message}`);
    }
  });
  let sure = false;
  const clear = make("button.button.danger", { type: "button", onclick: async () => {
    if (!sure) {
      sure = true;
      clear.lastChild.textContent = "Really delete all chats?";
      return;
    }
    await removeAll();
    dialog.close();
    emit("new");
    toast("All chats deleted");
  } }, icon("trash"), "Delete all chats");
  const save = async () => download(`nibble-chats-${new Date().toISOString().slice(0, 10)}.json`, await exported(), "application/json");
  return make("div.fields", {},
    choice("theme", "Colours", [["auto", "As the device"], ["light", "Light"], ["dark", "Dark"]], () => globalThis.nibbleTheme()),
    choice("enter", "Enter key", [["auto", "Sends, except by touch"], ["send", "Sends"], ["line", "Makes a line"]]),
    make("div.field", {}, make("label", { htmlFor: "set-key" }, "API key"), key,
      make("p.hint", { id: "set-key-hint" }, "Only if the server was started with one. Kept in this browser, never exported.")),
    make("div.field", {}, make("h3", {}, "Chats"), make("p.hint", {}, "They are kept in this browser and nowhere else."),
      make("div.buttons.wrap", {}, make("button.button", { type: "button", onclick: save }, "Export"),
        make("button.button", { type: "button", onclick: () => file.click() }, "Import"), file, clear)),
    make("p.hint", {}, connection.version ? `nibble ${connection.version}` : "nibble", " · ", location.host));
}
