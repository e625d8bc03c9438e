// A stand-in for the server: the page's files with their policy, and Ollama's interface with answers, errors and breaks as
// the words of a message ask for them (SCRIPTS). `node mock.mjs [PORT]` serves it to look at.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

const WEB = new URL("../../web/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml", png: "image/png", webmanifest: "application/manifest+json" };

/** The policy that web.rs sends, read from there, so that the tests run under the very same. */
export function policy() {
  const source = readFileSync(new URL("../../src/web.rs", import.meta.url), "utf8");
  const text = /pub const POLICY: &str = "((?:[^"\\]|\\[^])*)";/.exec(source)[1];
  return text.replace(/\\\n\s*/g, "");
}

export const MARKDOWN = `# A heading

Some **bold** and *slanted* words, \`inline code\`, a [link](https://example.com/a?b=c) and ~~what is gone~~.
This line follows without a blank one.

1. First, with a list below
   - inner \`one\`
   - inner two
2. Second

- [x] done
- [ ] to do

| Format | Bits per weight | Size | Note |
|:-------|----------------:|-----:|:-----|
| Q8_0   | 8.5             | 3.4 GB | nearly lossless |
| Q4_K_M | 4.8             | 2.0 GB | **the usual choice** |
| Q2_K   | 2.6             | 1.4 GB | visibly worse, yet it runs on a phone with little memory |

> A quotation,
> over two lines.

\`\`\`rust
/// Adds up what is there.
fn sum(values: &[f32]) -> f32 {
    let mut total = 0.0; // starts at nothing
    for value in values { total += value; }
    println!("the sum of {} values is {total}, and this line is long enough to scroll sideways", values.len());
    total
}
\`\`\`

The length is $\\sqrt{x^2 + y^2}$, it costs $5, and <script>alert("no")</script> is only text.

---

That is all.`;

const PLAIN = "A nibble is half a byte: four bits, enough for sixteen values. Models whose weights are stored so take a quarter of the room that half-precision numbers need.";

const MODELS = [
  { name: "nibble-tiny:latest", size: 21_300_000, digest: "aa01", details: { family: "llama", parameter_size: "15M", quantization_level: "Q8_0", format: "gguf" } },
  { name: "llama3.2:3b-instruct-q4_K_M", size: 2_019_393_189, digest: "aa02", details: { family: "llama", parameter_size: "3.2B", quantization_level: "Q4_K_M", format: "gguf" } },
  { name: "hf.co/someone/with-a-very-long-repository-name-GGUF:Q4_0", size: 773_000_000, digest: "aa03", details: { family: "qwen3", parameter_size: "1.2B", quantization_level: "Q4_0", format: "gguf" } },
];

/** What a message asks for by a word in it. */
const SCRIPTS = {
  "please-markdown": { text: MARKDOWN },
  "please-think": { thinking: "The person asks something. I should think about it, step by step, before I answer.", text: PLAIN },
  "please-tags": { text: `<think>\nHidden in tags.\n</think>\n\n${PLAIN}` },
  "please-slow": { text: `${PLAIN} `.repeat(40), wait: 25 },
  "please-stall": { text: "", wait: 600_000 },
  "please-break": { text: PLAIN, breakAfter: 6 },
  "please-stream-error": { text: PLAIN, errorAfter: 5 },
  "please-429": { status: 429, error: "256 requests are waiting already, which is the limit; try again in 7 s", headers: { "Retry-After": "7" } },
  "please-too-long": { status: 400, error: "the prompt has 5000 tokens and the context holds 4096: 904 too many", more: { prompt_tokens: 5000, context: 4096, excess: 904 } },
  "please-no-model": { status: 404, error: "model 'x' not found" },
  "please-full": { text: PLAIN, prompt: 3700 },
  "please-html": { text: '<img src=x onerror="alert(1)"> [click](javascript:alert(1)) ![p](https://example.com/x.png) <b>b</b>' },
};

/** Starts it; `mock.requests` holds the bodies of chat requests, `mock.key` a key that it then asks for, `mock.wait` ms a piece. */
export async function start({ port = 0, wait = 4, key = null } = {}) {
  const mock = { requests: [], cancelled: 0, wait, key, models: MODELS, compare: true };
  const csp = policy();
  const server = createServer((request, response) => serve(mock, csp, request, response).catch((error) => response.destroy(error)));
  const listen = (at) => new Promise((resolve, reject) => server.once("error", reject).listen(at, "127.0.0.1", resolve));
  await listen(port);
  mock.port = server.address().port;
  mock.url = `http://127.0.0.1:${mock.port}/`;
  mock.down = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  mock.up = () => listen(mock.port);
  return mock;
}

async function serve(mock, csp, request, response) {
  const path = new URL(request.url, "http://x").pathname;
  if (!path.startsWith("/api/")) return file(csp, path, response);
  const send = (status, body, headers = {}) => response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
  if (mock.key && request.headers.authorization !== `Bearer ${mock.key}`) return send(401, { error: "this server needs an API key: send Authorization: Bearer KEY" });
  let text = "";
  for await (const piece of request) text += piece;
  const body = text ? JSON.parse(text) : {};
  if (path === "/api/version") return send(200, { version: "0.0.0-mock" });
  if (path === "/api/tags") return send(200, { models: mock.models });
  if (path === "/api/ps") return send(200, { models: [{ ...mock.models[0], context_length: 4096 }] });
  if (path === "/api/show") {
    const model = mock.models.find(({ name }) => name === body.model);
    if (!model) return send(404, { error: `model '${body.model}' not found` });
    return send(200, { details: model.details, capabilities: ["completion", "tools"], model_info: { "llama.context_length": 131072 }, ...(mock.compare && { compare: "/compare/nibble-tiny" }) });
  }
  if (path === "/api/chat") return chat(mock, body, request, response, send);
  return send(404, { error: "no such thing" });
}

function file(csp, path, response) {
  const name = path === "/" ? "index.html" : path.startsWith("/ui/") ? path.slice(4) : ["/sw.js", "/manifest.webmanifest"].includes(path) ? path.slice(1) : null;
  let bytes = null;
  try {
    if (name && /^[\w.-]+$/.test(name)) bytes = readFileSync(new URL(name, WEB));
  } catch {
    // Not there: 404 below.
  }
  if (!bytes) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": TYPES[name.split(".").pop()], "Content-Security-Policy": csp, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff" }).end(bytes);
}

const sleep = (ms, signal) => setTimeout(ms, null, { signal }).catch(() => {});

async function chat(mock, body, request, response, send) {
  mock.requests.push(body);
  const last = body.messages?.at(-1)?.content ?? "";
  const script = SCRIPTS[Object.keys(SCRIPTS).find((word) => last.includes(word))] ?? { text: `You said: ${last}\n\n${PLAIN}` };
  if (script.status && !body.truncate) return send(script.status, { error: script.error, ...script.more }, script.headers);
  const gone = new AbortController();
  response.on("close", () => {
    if (!response.writableFinished) mock.cancelled++;
    gone.abort();
  });
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  response.flushHeaders();
  const began = performance.now();
  const line = (fields) => `${JSON.stringify({ model: body.model, created_at: new Date().toISOString(), ...fields })}\n`;
  const pieces = (text) => (text ?? "").match(/\s*\S+\s*?/g) ?? [];
  const all = [...pieces(script.thinking).map((thinking) => ({ thinking, content: "" })), ...pieces(script.text ?? PLAIN).map((content) => ({ content }))];
  for (const [i, message] of all.entries()) {
    if (i === script.breakAfter) return response.destroy();
    if (i === script.errorAfter) return response.end(line({ error: "the model stumbled" }));
    await sleep(script.wait ?? mock.wait, gone.signal);
    if (gone.signal.aborted) return;
    // Cut inside the line every time, since the network does.
    const bytes = Buffer.from(line({ message: { role: "assistant", ...message }, done: false }));
    response.write(bytes.subarray(0, 30));
    response.write(bytes.subarray(30));
  }
  if (all.length === 0) await sleep(script.wait ?? 0, gone.signal);
  const ns = Math.round((performance.now() - began) * 1e6);
  response.end(line({ message: { role: "assistant", content: "" }, done: true, done_reason: "stop", total_duration: ns, load_duration: 0, prompt_eval_count: script.prompt ?? 40 + 25 * body.messages.length, prompt_eval_duration: 1e6, eval_count: all.length, eval_duration: ns }));
}

if (process.argv[1] === import.meta.filename) {
  const mock = await start({ port: Number(process.argv[2] ?? 11535), wait: 30 });
  console.log(mock.url);
}
