// The parts of the page that need no page: the stream's lines, thoughts, the tree of messages, settings, errors, imports.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { webcrypto } from "node:crypto";
import { test } from "node:test";
import { Lines, values } from "../../web/ndjson.js";
import { part } from "../../web/think.js";
import { below, newestLeaf, newId, path, siblings, titleOf } from "../../web/tree.js";
import { checked, effective, FIELDS } from "../../web/options.js";
import { explain } from "../../web/errors.js";
import { imported } from "../../web/store.js";
import { PICTURES, png } from "./icons.mjs";

globalThis.crypto ??= webcrypto; // node 18 has it, but not there

test("lines: cut anywhere, even inside a character", () => {
  const whole = [{ a: "é重😀" }, { b: "x\ny" }, { c: 1 }];
  const bytes = Buffer.from(whole.map((value) => JSON.stringify(value)).join("\r\n") + "\n\n");
  for (let size = 1; size <= bytes.length; size++) {
    const lines = new Lines();
    const out = [];
    for (let at = 0; at < bytes.length; at += size) out.push(...lines.push(bytes.subarray(at, at + size)));
    out.push(...lines.end());
    assert.deepEqual(out, whole, `pieces of ${size}`);
  }
});

test("lines: the last may lack its newline, and what is no JSON is said", () => {
  const lines = new Lines();
  assert.deepEqual(lines.push(Buffer.from('{"a":1}\n{"b"')), [{ a: 1 }]);
  assert.deepEqual(lines.push(Buffer.from(":2}")), []);
  assert.deepEqual(lines.end(), [{ b: 2 }]);
  assert.throws(() => new Lines().push(Buffer.from("<html>\n")), SyntaxError);
});

test("values: who stops early cancels the stream", async () => {
  let cancelled = false;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(Buffer.from('{"n":1}\n')),
    cancel: () => void (cancelled = true),
  });
  for await (const value of values(body)) {
    assert.deepEqual(value, { n: 1 });
    break;
  }
  assert.ok(cancelled);
});

test("thoughts are parted from what is said", () => {
  assert.deepEqual(part("<think>a\nb</think>\n\nc"), { thought: "a\nb", said: "c", thinking: false });
  assert.deepEqual(part("<think>a", false), { thought: "a", said: "", thinking: true });
  assert.deepEqual(part("<think>a"), { thought: "a", said: "", thinking: false });
  assert.deepEqual(part("a</think>b"), { thought: "a", said: "b", thinking: false });
  assert.deepEqual(part("a <think> b"), { thought: "", said: "a <think> b", thinking: false });
  // Half a tag is not shown while it may become one, and is shown if it does not.
  assert.equal(part("<thi", false).said, "");
  assert.equal(part("<thi").said, "<thi");
  assert.equal(part("<p", false).said, "<p");
});

const tree = (...rows) => new Map(rows.map(([id, parent]) => [id, { id, parent }]));
const ids = (messages) => messages.map(({ id }) => id).join("");

test("tree: ways, versions and what hangs below", () => {
  const messages = tree(["a", null], ["b", "a"], ["c", "b"], ["d", "a"], ["e", "d"], ["f", "e"], ["g", null]);
  assert.equal(ids(path(messages, "f")), "adef");
  assert.equal(ids(path(messages, null)), "");
  assert.equal(ids(path(messages, "nobody")), "");
  assert.equal(ids(siblings(messages, messages.get("b"))), "bd");
  assert.equal(ids(siblings(messages, messages.get("a"))), "ag");
  assert.equal(newestLeaf(messages, messages.get("a")).id, "f");
  assert.equal(newestLeaf(messages, messages.get("c")).id, "c");
  assert.equal([...ids(below(messages, messages.get("d")))].sort().join(""), "def");
});

test("tree: an import in which parents go round ends all the same", () => {
  const messages = tree(["a", "b"], ["b", "a"]);
  assert.equal(path(messages, "a").length, 2);
  assert.ok(newestLeaf(messages, messages.get("a")));
  assert.ok(below(messages, messages.get("a")).length <= 2);
});

test("ids differ and titles are short", () => {
  assert.equal(new Set(Array.from({ length: 1000 }, newId)).size, 1000);
  assert.match(newId(), /^[a-z0-9]+$/);
  assert.equal(titleOf("  a  b\nc"), "a b");
  assert.equal(titleOf(" \n"), "New chat");
  const long = titleOf("word ".repeat(40));
  assert.ok(long.length <= 61 && long.endsWith("word…"), long);
});

test("settings: the chat's own go before the defaults, and each goes to its place", () => {
  const base = { temperature: 0.5, system: " be brief ", think: "yes", format: "json", keep_alive: "10m" };
  assert.deepEqual(effective({ temperature: 0, num_ctx: 8192, think: "model", format: "text" }, base), { system: "be brief", top: { keep_alive: "10m" }, options: { temperature: 0, num_ctx: 8192 } });
  assert.deepEqual(effective({}, base).top, { think: true, format: "json", keep_alive: "10m" });
  assert.deepEqual(effective({ keep_alive: "-1", truncate: "yes", format: "schema", schema: '{"type":"object"}' }, {}).top, { truncate: true, shift: true, keep_alive: -1, format: { type: "object" } });
  assert.deepEqual(effective({ truncate: "no", format: "schema" }, {}), { system: "", top: {}, options: {} });
  assert.deepEqual(effective({}, {}), { system: "", top: {}, options: {} });
});

test("settings: what is typed is checked", () => {
  const field = (key) => FIELDS.find((candidate) => candidate.key === key);
  assert.deepEqual(checked(field("temperature"), " 0,7 "), { value: 0.7 });
  assert.deepEqual(checked(field("temperature"), ""), { value: null });
  for (const [key, text] of [["temperature", "x"], ["temperature", "-1"], ["top_p", "1.1"], ["top_k", "1.5"], ["num_ctx", "0"], ["seed", "1e99"], ["schema", "{"]]) {
    assert.ok(checked(field(key), text).error, `${key}: ${text}`);
  }
  assert.deepEqual(checked(field("num_predict"), "-1"), { value: -1 });
});

test("errors say what to do", () => {
  const say = (error) => explain({ message: "x", status: 0, kind: "http", ...error }, "m");
  assert.match(say({ kind: "network" }).title, /not reachable/);
  assert.match(say({ kind: "network", message: "the connection ended in the middle of the answer" }).title, /broke/);
  assert.deepEqual(say({ status: 401 }).actions, ["key", "retry"]);
  assert.deepEqual(say({ status: 404, message: "model 'm' not found" }).actions, ["models", "retry"]);
  assert.match(say({ status: 429, after: 7, message: "full" }).text, /Full\. Try again in 7 s\./);
  const long = say({ status: 400, numbers: { prompt_tokens: 5000, context: 4096, excess: 904 } });
  assert.match(long.text, /5,000 tokens and the context holds 4,096: 904 too many/);
  assert.deepEqual(long.actions, ["settings", "shorten"]);
  assert.match(say({ status: 400, message: "the input is too long for the context" }).title, /too long/);
  for (const status of [400, 403, 413, 500, 501, 503]) assert.ok(say({ status }).title.length > 5);
});

test("an import is taken whole or not at all, and says where it is wrong", () => {
  const chat = { id: "c", title: "t", created: 1, updated: 2, model: "m", settings: {}, leaf: "m1", messages: [{ id: "m1", parent: null, role: "user", content: "x" }] };
  const text = (chats) => JSON.stringify({ format: "nibble-chats", version: 1, chats });
  const { chats, messages } = imported(text([chat]));
  assert.equal(chats[0].title, "t");
  assert.equal(messages[0].chat, "c");
  const wrong = (value, words) => assert.throws(() => imported(value), (error) => error.message.includes(words), words);
  wrong("{", "not JSON");
  wrong("{}", "not an export");
  wrong(text([{}]), "chats[0].messages");
  wrong(text([{ ...chat, title: 1 }]), "chats[0].title");
  wrong(text([chat, { ...chat, messages: [{ role: "system" }] }]), "chats[1].messages[0].role");
  wrong(text([{ ...chat, messages: [{ role: "user", id: "x", content: 5 }] }]), "chats[0].messages[0].content");
});

test("the icons are the pictures that icons.mjs draws", () => {
  // Points are compared, not bytes: another zlib may pack them otherwise.
  const data = (file) => {
    const parts = {};
    for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at)) parts[file.toString("latin1", at + 4, at + 8)] = file.subarray(at + 8, at + 8 + file.readUInt32BE(at));
    return { ...parts, IDAT: inflateSync(parts.IDAT) };
  };
  for (const picture of PICTURES) {
    const shipped = readFileSync(new URL(`../../web/${picture.name}`, import.meta.url));
    assert.deepEqual(data(shipped), data(png(picture)), `${picture.name}: run node icons.mjs`);
  }
});
