// The open chat's messages as they are seen, and what can be done with each.

import { answer, answering } from "./answers.js";
import { add, removeMessage, shown, state, turn, versions } from "./chats.js";
import { announce, byId, copyFrom, icon, iconButton, make, toast } from "./dom.js";
import { emit, on } from "./bus.js";
import { explain } from "./errors.js";
import { openModels, shortName } from "./models.js";
import { MarkdownView } from "./render.js";
import { part } from "./think.js";

const FIRST = 40; // messages shown of a long chat, until earlier ones are asked for

const log = byId("log");
const list = byId("messages");
const rows = new Map(); // message id to Row
let limit = FIRST;
let pinned = true; // the newest line stays in sight until the person scrolls away

log.addEventListener("scroll", () => {
  pinned = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
  byId("down").hidden = pinned;
}, { passive: true });
byId("down").addEventListener("click", () => toEnd());
new ResizeObserver(() => pinned && toEnd()).observe(log);

export function toEnd() {
  pinned = true;
  log.scrollTop = log.scrollHeight;
  byId("down").hidden = true;
}

/** One message. Built once; `draw` brings it up to date. */
class Row {
  constructor(message) {
    this.message = message;
    this.body = make("div.body");
    this.foot = make("div.foot");
    const who = message.role === "user" ? "You" : (message.model ?? "Model");
    this.element = make(`article.message.${message.role}`, { "aria-label": who }, make("h2.hidden", {}, `${who}:`), this.body, this.foot);
    this.element.dataset.id = message.id;
    if (message.role === "assistant") {
      this.view = new MarkdownView();
      this.thought = null;
      this.notes = make("div.notes");
      this.body.append(this.view.element, this.notes);
    } else {
      this.body.append(make("div.bubble", { dir: "auto" }, message.content));
    }
    this.drawn = "";
  }
  get live() {
    return this.message.state === "waiting" || this.message.state === "streaming";
  }
  /** Shows the text so far; the rest only when the state changed, so that a button under a finger stays the same button. */
  draw() {
    const { message } = this;
    if (message.role === "assistant") this.drawAnswer();
    const all = versions(message);
    const mark = JSON.stringify([message.state, message.stats, message.error, message.truncated, all.length, all.indexOf(message), answering(state.open.id) !== null]);
    if (mark === this.drawn) return;
    this.drawn = mark;
    if (message.role === "assistant") this.drawNotes();
    this.drawFoot(all);
  }
  drawAnswer() {
    const { message } = this;
    const parts = part(message.content, !this.live);
    const thought = message.thinking || parts.thought;
    if (thought) this.drawThought(thought, this.live && (parts.thinking || parts.said === ""));
    this.view.update(parts.said);
    this.element.classList.toggle("live", this.live);
    this.element.classList.toggle("empty", parts.said === "");
    if (this.live && !this.wait) {
      this.wait = make("div.wait", {}, make("span.bits", { "aria-hidden": "true" }, [0, 1, 2, 3].map(() => make("i"))), make("span.wait-text"));
      this.body.append(this.wait);
      const start = Date.now();
      // A phone may read a long prompt for a minute: the seconds say that it is not dead.
      this.ticking = setInterval(() => {
        const seconds = Math.round((Date.now() - start) / 1000);
        this.wait?.lastChild.replaceChildren(message.state === "waiting" && seconds > 2 ? `Reading the prompt… ${seconds} s` : "");
      }, 1000);
    } else if (!this.live && this.wait) {
      clearInterval(this.ticking);
      this.wait.remove();
      this.wait = null;
    }
    if (message.state === "streaming" && this.wait) this.wait.lastChild.replaceChildren();
  }
  drawThought(text, thinking) {
    if (!this.thought) {
      this.thoughtView = new MarkdownView();
      this.thoughtTitle = make("span");
      this.thought = make("details.thought", {}, make("summary", {}, icon("open"), this.thoughtTitle), this.thoughtView.element);
      this.thought.addEventListener("toggle", () => this.thoughtView.update(this.thoughtText));
      this.body.prepend(this.thought);
    }
    this.thoughtText = text;
    const seconds = this.message.thoughtMs ? ` for ${(this.message.thoughtMs / 1000).toFixed(1)} s` : "";
    const title = thinking ? "Thinking…" : `Thought${seconds}`;
    if (this.thoughtTitle.textContent !== title) this.thoughtTitle.textContent = title;
    // Folded thoughts are not laid out: they can be long, and a phone has better to do.
    if (this.thought.open) this.thoughtView.update(text);
  }
  drawNotes() {
    const { message } = this;
    const notes = [];
    const note = (text) => notes.push(make("p.note", {}, text));
    if (message.state === "stopped") note("Stopped.");
    if (message.state === "cut") note("Cut off when the page was closed or reloaded. Retry asks again.");
    if (message.reason === "length") note("The answer reached its longest length or the end of the context.");
    if (message.truncated) note("The oldest messages were left out, because the context was full.");
    if (message.state === "done" && message.content === "" && !message.thinking) note("The model answered nothing.");
    if (message.error && message.state === "failed") notes.push(this.trouble());
    this.notes.replaceChildren(...notes);
  }
  trouble() {
    const { title, text, actions } = explain(this.message.error, this.message.model);
    const known = {
      retry: ["Try again", () => retry(this.message)],
      key: ["Enter the key", () => emit("settings", "key")],
      models: ["Choose a model", () => openModels()],
      settings: ["Settings", () => emit("settings", "num_ctx")],
      shorten: ["Leave out the oldest", () => retry(this.message, { truncate: true })],
    };
    const buttons = actions.map((name) => make("button.button", { type: "button", onclick: known[name][1] }, known[name][0]));
    return make("div.callout.bad", {}, make("strong", {}, title), make("p", {}, text), buttons.length > 0 && make("div.buttons", {}, buttons));
  }
  drawFoot(all) {
    const { message } = this;
    if (this.live) return this.foot.replaceChildren();
    const idle = answering(state.open.id) === null;
    const at = all.indexOf(message);
    const turnTo = (step, name, label) => iconButton(name, label, () => turn(message, step), { disabled: !all[at + step] || !idle });
    const copy = iconButton("copy", "Copy message", () => copyFrom(copy, part(message.content).said));
    const parts = [
      all.length > 1 && make("span.versions", { role: "group", "aria-label": "Versions" }, turnTo(-1, "left", "Earlier version"),
        make("span", {}, `${at + 1}/${all.length}`), turnTo(1, "right", "Later version")),
      message.content && copy,
      message.role === "user"
        ? iconButton("edit", "Edit message", () => this.edit(), { disabled: !idle, "data-edit": "" })
        : iconButton("retry", "Retry answer", () => retry(message), { disabled: !idle }),
      iconButton("trash", "Delete message and what follows", () => remove(message), { disabled: !idle }),
    ];
    this.foot.replaceChildren(...[message.role === "assistant" && statistics(message), make("div.actions", {}, parts)].filter(Boolean));
  }
  edit() {
    const area = make("textarea.edit-area", { value: this.message.content, "aria-label": "Edit message", rows: 1 });
    const fit = () => {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight + 2}px`;
    };
    const close = () => {
      form.replaceWith(bubble);
      this.foot.hidden = false;
      this.foot.querySelector("[data-edit]")?.focus();
    };
    const send = async () => {
      const text = area.value.trim();
      if (text === "") return;
      close();
      if (text !== this.message.content) await ask(text, this.message.parent);
    };
    const form = make("form.edit-form", { onsubmit: (event) => (event.preventDefault(), send()) }, area,
      make("div.buttons", {}, make("button.button", { type: "button", onclick: close }, "Cancel"), make("button.button.main", { type: "submit" }, "Send again")));
    area.addEventListener("input", fit);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    const bubble = this.body.firstChild;
    bubble.replaceWith(form);
    this.foot.hidden = true;
    fit();
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

function statistics({ stats }) {
  if (!stats?.tokens) return null;
  const rate = stats.rate >= 100 ? stats.rate.toFixed(0) : stats.rate.toFixed(1);
  const first = stats.firstMs < 100 ? `${stats.firstMs} ms` : `${(stats.firstMs / 1000).toFixed(stats.firstMs < 9950 ? 1 : 0)} s`;
  return make("p.stats", { title: `${stats.prompt} tokens read, ${stats.tokens} written, ${(stats.totalMs / 1000).toFixed(1)} s in all` },
    make("b", {}, `${rate} tokens/s`), make("span", {}, `${stats.tokens.toLocaleString()} tokens`), make("span", {}, `first after ${first}`));
}

/** Sends a message behind `parent` and has it answered. */
export async function ask(text, parent) {
  const { open: chat, messages } = state;
  toEnd();
  const question = await add(chat, messages, { role: "user", parent, content: text });
  await answer(chat, messages, question);
}

/** Asks again what `message` answered; the earlier answer stays as another version, unless it was only an error. */
export async function retry(message, more = {}) {
  const { open: chat, messages } = state;
  const question = messages.get(message.parent);
  if (!question || answering(chat.id)) return;
  if (message.state === "failed" && message.content === "") await removeMessage(message);
  chat.leaf = question.id;
  pinned = true;
  await answer(chat, messages, question, more);
}

async function remove(message) {
  const undo = await removeMessage(message);
  toast("Message deleted", { label: "Undo", run: undo });
}

/** Brings the rows into agreement with the messages. */
function draw() {
  const all = shown();
  const way = all.slice(-limit);
  const ids = new Set(way.map((message) => message.id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    clearInterval(row.ticking);
    row.element.remove();
    rows.delete(id);
  }
  way.forEach((message, i) => {
    let row = rows.get(message.id);
    if (!row) {
      row = new Row(message);
      rows.set(message.id, row);
    }
    row.message = message;
    if (list.children[i] !== row.element) list.insertBefore(row.element, list.children[i] ?? null);
    row.draw();
  });
  byId("earlier").hidden = way.length === all.length;
  byId("empty").hidden = all.length > 0;
  if (pinned) toEnd();
}

byId("earlier").addEventListener("click", () => {
  const fromEnd = log.scrollHeight - log.scrollTop;
  limit += FIRST;
  draw();
  log.scrollTop = log.scrollHeight - fromEnd;
});

on("chat", () => {
  for (const row of rows.values()) clearInterval(row.ticking);
  rows.clear();
  list.replaceChildren();
  limit = FIRST;
  pinned = true;
  draw();
});
on("messages", draw);
on("measured", draw);

// However fast pieces come, the page is drawn once a frame at most.
let waiting = null;
on("answer", (message) => {
  if (message.chat !== state.open?.id) return;
  if (!rows.has(message.id) || !rows.get(message.id).live) return draw();
  waiting ??= requestAnimationFrame(() => {
    waiting = null;
    rows.get(message.id)?.draw();
    if (pinned) toEnd();
  });
});
on("answer", (message) => message.state === "waiting" && announce(`${shortName(message.model)} is answering`));
on("answered", (message) => {
  if (message.chat !== state.open?.id) return;
  draw();
  const said = part(message.content).said;
  const end = { done: "Answer complete.", stopped: "Answer stopped.", failed: "The answer failed." }[message.state] ?? "";
  // Read once, at the end: a screen reader that is given every word reads none to the end.
  announce(message.state === "failed" ? `${end} ${explain(message.error, message.model).title}` : `${end} ${said.slice(0, 1500)}`);
});
