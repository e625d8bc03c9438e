// The official `openai` package for JavaScript.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const openai = new OpenAI({ baseURL: `${process.env.NIBBLE_TEST_URL}/v1`, apiKey: "unused", maxRetries: 0 });
const settings = { model: "tiny", temperature: 0, seed: 7, max_tokens: 24 };
const messages = [{ role: "user", content: "Tell me a story about a fox." }];

test("a stream says what the whole answer says", async () => {
  const whole = await openai.chat.completions.create({ ...settings, messages });
  assert.equal(whole.usage.completion_tokens, 24);
  let text = "";
  for await (const chunk of await openai.chat.completions.create({ ...settings, messages, stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
  assert.equal(text, whole.choices[0].message.content);
});

test("embeddings are numbers", async () => {
  const { data } = await openai.embeddings.create({ model: "tiny", input: "A cat sleeps." });
  assert.ok(data[0].embedding.length > 8 && data[0].embedding.every(Number.isFinite));
});

test("models", async () => {
  const names = [];
  for await (const model of openai.models.list()) names.push(model.id);
  assert.ok(names.some((name) => name.split(":")[0] === "tiny"));
});

test("what is not there is a 404", async () => {
  await assert.rejects(openai.chat.completions.create({ model: "no-such-model", messages }), (error) => error.status === 404 && error.code === "model_not_found");
});
