// Vercel's AI SDK over both interfaces: by its provider for servers like OpenAI's, and by the one for Ollama.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, streamText } from "ai";
import { Ollama } from "ollama";
import { createOllama } from "ollama-ai-provider-v2";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const url = process.env.NIBBLE_TEST_URL;
const Pet = z.object({ name: z.enum(["Rex", "Tom"]), tame: z.boolean() });
const prompt = "Tell me a story about a fox.";

before(() => new Ollama({ host: url }).generate({ model: "tiny" }));

for (const [name, provider] of [
  ["OpenAI's", createOpenAICompatible({ name: "nibble", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true })],
  ["Ollama's", createOllama({ baseURL: `${url}/api` })],
]) {
  const model = provider("tiny");
  // The provider for Ollama hands on no settings but those that are its own.
  const own = (options) => ({ providerOptions: { ollama: { options } } });
  const settings = { model, maxOutputTokens: 20, temperature: 0, maxRetries: 0, ...own({ num_predict: 20, temperature: 0 }) };

  test(`${name}: a stream says what the whole answer says`, async () => {
    const whole = await generateText({ ...settings, prompt });
    assert.ok(whole.text.length > 10 && whole.usage.inputTokens > 10 && whole.usage.outputTokens > 3, JSON.stringify(whole.usage));
    const stream = streamText({ ...settings, prompt });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.equal(text, whole.text);
    assert.deepEqual([await stream.finishReason, (await stream.usage).outputTokens], [whole.finishReason, whole.usage.outputTokens]);
  });

  test(`${name}: structured output`, async () => {
    const { output } = await generateText({ ...settings, ...own({ num_predict: 200 }), maxOutputTokens: 200, prompt: "A pet", output: Output.object({ schema: Pet }) });
    assert.ok(Pet.safeParse(output).success, JSON.stringify(output));
  });

  test(`${name}: embeddings`, async () => {
    const { embeddings } = await embedMany({ model: provider.textEmbeddingModel("tiny"), values: ["A cat sleeps.", "The sea is deep."], maxRetries: 0 });
    assert.ok(embeddings.length === 2 && embeddings[0].length > 8 && embeddings.flat().every(Number.isFinite));
  });

  test(`${name}: errors keep their status`, async () => {
    await assert.rejects(generateText({ ...settings, model: provider("no-such-model"), prompt }), (error) => error.statusCode === 404);
    await assert.rejects(generateText({ ...settings, prompt: "word ".repeat(5000) }), (error) => error.statusCode === 400);
  });

  test(`${name}: an answer that is broken off ends`, async () => {
    const control = new AbortController();
    let pieces = 0;
    try {
      for await (const _ of streamText({ ...settings, ...own({}), maxOutputTokens: 500, prompt, abortSignal: control.signal, onError() {} }).textStream) {
        if (++pieces === 3) control.abort();
      }
    } catch (error) {
      assert.equal(error.name, "AbortError");
    }
    assert.ok(pieces >= 3);
  });
}
