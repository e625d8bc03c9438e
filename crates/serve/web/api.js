// The server's interface (Ollama's), same origin. Every failure becomes a `Failure` that says what kind it is.

import { values } from "./ndjson.js";
import { small } from "./store.js";

const CUT = "the connection ended in the middle of the answer";

export class Failure extends Error {
  /**
   * @param {"network" | "http" | "stream" | "timeout"} kind
   * @param {string} message the server's own words where there are some
   */
  constructor(kind, message, { status = 0, after = 0, numbers = {} } = {}) {
    super(message);
    Object.assign(this, { kind, status, after, numbers });
  }
}

async function call(path, { body, signal, method = body ? "POST" : "GET" } = {}) {
  const headers = {};
  const key = small.get("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    // Relative to the page: so it works below a path of a reverse proxy too.
    response = await fetch(new URL(path, document.baseURI), { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw signal.reason?.name === "TimeoutError" ? new Failure("timeout", "no answer in time") : error;
    throw new Failure("network", error.message);
  }
  if (!response.ok) throw await refused(response);
  return response;
}

async function refused(response) {
  let message = `${response.status} ${response.statusText}`.trim();
  let numbers = {};
  try {
    const body = JSON.parse(await response.text());
    message = typeof body.error === "string" ? body.error : (body.error?.message ?? message);
    const { prompt_tokens, context, excess } = body;
    numbers = { prompt_tokens, context, excess };
  } catch {
    // Not JSON: a proxy's page. The status says enough.
  }
  return new Failure("http", message, { status: response.status, after: Number(response.headers.get("Retry-After")) || 0, numbers });
}

const json = async (path, options) => (await call(path, options)).json();
const soon = (ms) => AbortSignal.timeout(ms);

export const version = () => json("api/version", { signal: soon(5000) });
export const tags = async () => (await json("api/tags", { signal: soon(15000) })).models ?? [];
export const running = async () => (await json("api/ps", { signal: soon(15000) })).models ?? [];
export const show = (model) => json("api/show", { body: { model }, signal: soon(15000) });

/** The pieces of an answer as the server sends them. Ends with the piece that has `done`, or fails. */
export async function* chat(body, signal) {
  const response = await call("api/chat", { body: { ...body, stream: true }, signal });
  let done = false;
  try {
    for await (const piece of values(response.body)) {
      if (piece.error) {
        const { error } = piece;
        throw new Failure("stream", typeof error === "string" ? error : (error.message ?? "the server reported an error"));
      }
      yield piece;
      done ||= piece.done === true;
    }
  } catch (error) {
    if (signal.aborted || error instanceof Failure) throw error;
    if (error instanceof SyntaxError) throw new Failure("stream", `the answer is not what Ollama's interface sends: ${error.message}`);
    throw new Failure("network", CUT);
  }
  if (!done) throw new Failure("network", CUT);
}
