// Asking the model, and keeping what it says. An answer goes on when another chat is opened, is written several times a
// second, and once more in the moment in which the page goes away: so a reload loses nothing that was shown.
//
// Emits "answer" (message) when one begins, grows or ends, and "answered" (message) at its end.

import * as api from "./api.js";
import { add, saveMessage, select, setHooks, state, tellOthers } from "./chats.js";
import { check } from "./connection.js";
import { emit } from "./bus.js";
import { contextOf } from "./models.js";
import { effective } from "./options.js";
import { newId, path } from "./tree.js";
import { part } from "./think.js";
import { small } from "./store.js";

const running = new Map(); // chat id to {controller, message}
const SAVE_EVERY = 400; // ms
const BEAT = 5000; // ms without a write, after which another tab's answer counts as cut off
const TAB = tabName();

/** A name of this tab that outlives a reload. */
function tabName() {
  try {
    return (sessionStorage.tab ??= newId());
  } catch {
    return newId();
  }
}

setHooks({ busy: (chat) => running.has(chat), prepare });
export const answering = (chat) => running.get(chat)?.message ?? null;
export const anyRunning = () => running.size > 0;

/** What the server is asked. The thoughts of earlier answers stay out, as the models' makers advise. */
export function request(chat, messages, question, more = {}) {
  const options = effective(chat.settings);
  const said = path(messages, question.id)
    .map(({ role, content }) => ({ role, content: role === "assistant" ? part(content).said : content }))
    .filter(({ role, content }) => role === "user" || content !== "");
  if (options.system) said.unshift({ role: "system", content: options.system });
  return { model: chat.model, messages: said, ...options.top, options: options.options, ...more };
}

/** Answers `question`; resolves at the end of the answer, whatever it was. */
export async function answer(chat, messages, question, more = {}) {
  if (running.has(chat.id)) return;
  const controller = new AbortController();
  const entry = { controller, message: null };
  running.set(chat.id, entry);
  const message = await add(chat, messages, { role: "assistant", parent: question.id, content: "", model: chat.model, state: "waiting", tab: TAB });
  entry.message = message;
  const wake = stayAwake();
  const start = performance.now();
  let first = 0;
  let saved = start;
  let thoughtEnd = 0;
  emit("answer", message);
  try {
    for await (const piece of api.chat(request(chat, messages, question, more), controller.signal)) {
      const now = performance.now();
      const text = piece.message?.content ?? "";
      const thought = piece.message?.thinking ?? "";
      if (text || thought) {
        first ||= now;
        message.state = "streaming";
        message.content += text;
        message.thinking += thought;
        if (!thoughtEnd && (message.thinking ? text : part(message.content, false).thought && !part(message.content, false).thinking)) thoughtEnd = now;
      }
      if (piece.done) message.stats = statistics(piece, start, first, now);
      if (piece.done) message.reason = piece.done_reason ?? "stop";
      if (piece.truncated) message.truncated = piece.truncated;
      emit("answer", message);
      if (now - saved > SAVE_EVERY) {
        saved = now;
        message.beat = Date.now();
        saveMessage(message);
      }
    }
    message.state = "done";
  } catch (error) {
    if (controller.signal.aborted) {
      message.state = "stopped";
    } else {
      message.state = "failed";
      message.error = { kind: error.kind ?? "page", message: error.message, status: error.status ?? 0, after: error.after ?? 0, numbers: error.numbers ?? {} };
      if (error.kind === "network" || error.kind === "timeout") check();
    }
  }
  if (thoughtEnd) message.thoughtMs = Math.round(thoughtEnd - first);
  running.delete(chat.id);
  wake.then((lock) => lock?.release()).catch(() => {});
  await saveMessage(message);
  small.set("cut", null);
  tellOthers(chat.id);
  emit("answer", message);
  emit("answered", message, chat);
  if (message.stats) {
    // The context that the model runs with is known best after it ran.
    message.stats.context = await contextOf(chat).catch(() => 0);
    await saveMessage(message);
    emit("measured", message);
  }
}

/** Ends the answer in this chat; what came so far stays. */
export function stop(chat) {
  running.get(chat)?.controller.abort();
}

/** Rates are the server's, so that the network is not counted; the wait for the first token is the person's. */
export function statistics(piece, start, first, end) {
  const tokens = piece.eval_count ?? 0;
  const ns = piece.eval_duration ?? 0;
  const seconds = ns > 0 ? ns / 1e9 : (end - first) / 1000;
  return {
    prompt: piece.prompt_eval_count ?? 0,
    tokens,
    rate: seconds > 0 ? tokens / seconds : 0,
    firstMs: first ? Math.round(first - start) : 0,
    totalMs: Math.round(end - start),
  };
}

/** A phone that locks its screen may cut the connection: while an answer comes the screen stays on, where that is allowed. */
async function stayAwake() {
  try {
    return await navigator.wakeLock?.request("screen");
  } catch {
    return null;
  }
}

// The page may go away before IndexedDB has written: this store is written within the event.
addEventListener("pagehide", () => {
  const cut = [...running.values()].map(({ message }) => message).filter(Boolean);
  if (cut.length) small.set("cut", cut);
});

/**
 * Before a chat is shown: an answer that runs here replaces what the store has of it, and one that ran when its page went
 * away is said to be cut off, with everything that was shown.
 */
async function prepare(chat, messages) {
  const own = answering(chat);
  if (own) messages.set(own.id, own);
  const cut = new Map((small.get("cut") ?? []).map((message) => [message.id, message]));
  for (const message of messages.values()) {
    if (message === own || (message.state !== "waiting" && message.state !== "streaming")) continue;
    const last = cut.get(message.id);
    if (!last && message.tab !== TAB && Date.now() - (message.beat ?? message.created) < BEAT) {
      // Another tab is at it: look again.
      setTimeout(() => state.open?.id === chat && !running.has(chat) && select(chat), BEAT);
      continue;
    }
    if (last && last.content.length + last.thinking.length >= message.content.length + message.thinking.length) {
      Object.assign(message, { content: last.content, thinking: last.thinking });
    }
    message.state = "cut";
    await saveMessage(message);
    if (last) small.set("cut", null);
  }
}
