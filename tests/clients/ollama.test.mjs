// The official `ollama` package for JavaScript. MODEL is there already: the Python tests made it.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { Ollama } from "ollama";

const ollama = new Ollama({ host: process.env.NIBBLE_TEST_URL });
const model = "tiny";
const options = { temperature: 0, seed: 7, num_predict: 24 };
const messages = [{ role: "user", content: "Tell me a story about a fox." }];

test("list, show and ps", async () => {
  const { models } = await ollama.list();
  assert.ok(models.some((m) => m.name === `${model}:latest` && m.details.family === "llama"));
  const card = await ollama.show({ model });
  assert.equal(card.model_info["general.architecture"], "llama");
  assert.ok(card.capabilities.includes("completion"));
  await ollama.generate({ model, prompt: "Once", options });
  const loaded = (await ollama.ps()).models;
  assert.ok(loaded.some((m) => m.name === `${model}:latest` && new Date(m.expires_at) > new Date()));
});

test("a stream says what the whole answer says", async () => {
  const whole = await ollama.chat({ model, messages, options });
  assert.equal(whole.done_reason, "length");
  let text = "";
  let last;
  for await (const part of await ollama.chat({ model, messages, options, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, whole.message.content);
  assert.ok(last.done);
  assert.equal(last.eval_count, 24);
});

test("generate streams too, and stops on request", async () => {
  const stream = await ollama.generate({ model, prompt: "Once upon a time", raw: true, stream: true, options: { num_predict: 1000, seed: 1 } });
  let pieces = 0;
  await assert.rejects(async () => {
    for await (const part of stream) {
      pieces += part.response.length > 0 ? 1 : 0;
      if (pieces === 3) stream.abort();
    }
  }, { name: "AbortError" });
  assert.ok(pieces >= 3);
  const next = await ollama.generate({ model, prompt: "Once", options });
  assert.ok(next.done);
});

test("a schema is kept", async () => {
  const format = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"] };
  const answer = await ollama.chat({ model, messages, format, options: { temperature: 0.9, seed: 2, num_predict: 400 } });
  if (answer.done_reason === "stop") {
    const pet = JSON.parse(answer.message.content);
    assert.equal(typeof pet.name, "string");
    assert.ok(Number.isInteger(pet.age));
  } else {
    assert.equal(answer.done_reason, "length");
  }
});

test("embeddings", async () => {
  const { embeddings } = await ollama.embed({ model, input: ["A cat sleeps.", "A dog barks."] });
  assert.equal(embeddings.length, 2);
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  assert.ok(Math.abs(dot(embeddings[0], embeddings[0]) - 1) < 1e-4);
});

test("copy and delete", async () => {
  await ollama.copy({ source: model, destination: "copied:js" });
  assert.ok((await ollama.list()).models.some((m) => m.name === "copied:js"));
  await ollama.delete({ model: "copied:js" });
  assert.ok(!(await ollama.list()).models.some((m) => m.name === "copied:js"));
});

test("errors name what is wrong", async () => {
  await assert.rejects(ollama.chat({ model: "no-such-model", messages }), /no-such-model/);
  await assert.rejects(ollama.generate({ model, prompt: "word ".repeat(5000), options }), /\d+ tokens/);
});

test("push tells its progress, and what cannot be pushed", async () => {
  // A registry that has every blob already, and keeps the manifest.
  const manifests = [];
  const registry = createServer((request, response) => {
    request.on("data", (piece) => request.method === "PUT" && manifests.push(piece));
    request.on("end", () => response.writeHead(request.method === "PUT" ? 201 : 200).end());
  });
  await new Promise((done) => registry.listen(0, "127.0.0.1", done));
  const name = `127.0.0.1:${registry.address().port}/me/model:js`;
  try {
    await ollama.copy({ source: model, destination: name });
    const states = [];
    for await (const part of await ollama.push({ model: name, insecure: true, stream: true })) states.push(part.status);
    assert.deepEqual([states[0], ...states.slice(-2)], ["retrieving manifest", "pushing manifest", "success"]);
    assert.equal(JSON.parse(Buffer.concat(manifests)).schemaVersion, 2);
    await ollama.delete({ model: name });
  } finally {
    registry.close();
    registry.closeAllConnections();
  }
  await assert.rejects(ollama.push({ model }), /registry\.ollama\.ai/);
});
