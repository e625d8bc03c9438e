// The field at the bottom: what is typed, sent and stopped, the draft that outlives a reload, and how full the context is.

import { answering, stop } from "./answers.js";
import { shown, state } from "./chats.js";
import { byId, icon, toast } from "./dom.js";
import { on } from "./bus.js";
import { ask } from "./messages.js";
import { missing, openModels } from "./models.js";
import { small } from "./store.js";

const WARN = 0.8; // part of the context from which the meter warns
const input = byId("input");
const button = byId("send");
const NEW = "new"; // drafts of chats that are not yet saved share one place, as there is only one such chat

const draftName = () => `draft.${state.open?.unsaved ? NEW : state.open?.id}`;

/** As high as its text, up to the limit that the style sheet sets. */
function fit() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

function drawButton() {
  const busy = state.open && answering(state.open.id) !== null;
  const name = busy ? "stop" : "send";
  const label = busy ? "Stop answering" : "Send message";
  if (button.dataset.shows !== name) {
    button.dataset.shows = name;
    button.replaceChildren(icon(name));
    button.setAttribute("aria-label", label);
    button.title = label;
  }
  button.disabled = !busy && input.value.trim() === "";
}

async function send() {
  const chat = state.open;
  const text = input.value.trim();
  if (text === "" || answering(chat.id)) return;
  if (!chat.model || missing(chat)) {
    toast(chat.model ? `The server has no model “${chat.model}”` : "Choose a model first");
    return openModels();
  }
  small.set(draftName(), null);
  input.value = "";
  fit();
  // Read before the first message gives the chat its name in the list.
  await ask(text, chat.leaf);
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (answering(state.open.id)) stop(state.open.id);
  else send();
});

input.addEventListener("input", () => {
  fit();
  drawButton();
  small.set(draftName(), input.value);
});

/** On a screen keyboard Enter makes a line, as there is no Shift beside it and the button is near; "Enter sends" says otherwise. */
function enterSends() {
  const chosen = small.get("enter", "auto");
  return chosen === "send" || (chosen === "auto" && !matchMedia("(hover: none) and (pointer: coarse)").matches);
}

input.addEventListener("keydown", (event) => {
  // While an input method composes, Enter picks its word.
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
  if (event.ctrlKey || event.metaKey || (!event.shiftKey && enterSends())) {
    event.preventDefault();
    send();
  }
});

function drawMeter() {
  const last = shown().findLast((message) => message.stats?.context > 0);
  const meter = byId("meter");
  meter.hidden = !last;
  if (!last) return;
  const { prompt, tokens, context } = last.stats;
  const used = prompt + tokens;
  const part = Math.min(1, used / context);
  meter.classList.toggle("warn", part >= WARN);
  meter.querySelector(".meter-bar i").style.width = `${part * 100}%`;
  const text = `${used.toLocaleString()} of ${context.toLocaleString()} tokens`;
  meter.querySelector(".meter-text").textContent = part >= WARN ? `${Math.round(part * 100)} % full: ${text}` : text;
}

on("chat", () => {
  input.value = small.get(draftName(), "");
  fit();
  drawButton();
  drawMeter();
});
on("answer", drawButton);
on("answered", drawButton);
on("messages", drawMeter);
on("measured", drawMeter);

export function focusInput() {
  // On a phone the keyboard would jump up and hide half of what was opened.
  if (!matchMedia("(hover: none) and (pointer: coarse)").matches) input.focus();
}

export function fill(text) {
  input.value = text;
  input.dispatchEvent(new Event("input"));
  input.focus();
}
