// What went wrong, in plain words, and what a person can do about it. Pure, so that it is tested without a page.

const TOO_LONG = /too long|exceeds? (?:the )?(?:available |maximum )?context|context (?:length|size|window)|does not fit/i;

/**
 * `{title, text, actions}` for a Failure of api.js. Actions are names that messages.js has buttons for:
 * retry, key, models, settings, shorten.
 */
export function explain(error, model) {
  const words = sentence(error.message);
  if (error.kind === "network" || error.kind === "timeout") {
    return {
      title: error.message.includes("middle") ? "The connection broke" : "The server is not reachable",
      text: "Is “nibble serve” still running? What you wrote and what was answered is kept here.",
      actions: ["retry"],
    };
  }
  if (error.status === 401) {
    return { title: "The server wants an API key", text: `${words} Enter the key it was started with.`, actions: ["key", "retry"] };
  }
  if (error.status === 403) return { title: "The server does not allow this page", text: words, actions: ["retry"] };
  if (error.numbers?.excess > 0 || TOO_LONG.test(error.message)) {
    const { prompt_tokens, context, excess } = error.numbers ?? {};
    const n = (value) => value.toLocaleString("en-US");
    const told = excess > 0 ? `It has ${n(prompt_tokens)} tokens and the context holds ${n(context)}: ${n(excess)} too many.` : words;
    return {
      title: "The conversation is too long for the context",
      text: `${told} Raise the context length, leave out the oldest messages, or start a new chat.`,
      actions: ["settings", "shorten"],
    };
  }
  if (error.status === 404) {
    return { title: `The model ${model ?? ""} is not here`.replace("  ", " "), text: `${words} Choose another one, or get it with “nibble pull”.`, actions: ["models", "retry"] };
  }
  if (error.status === 429 || error.status === 503) {
    const when = error.after > 0 ? `Try again in ${error.after} s.` : "Try again in a moment.";
    return { title: "The server is busy", text: `${words} ${when}`, actions: ["retry"] };
  }
  if (error.status === 413) return { title: "The message is too large for the server", text: words, actions: [] };
  if (error.status === 400) return { title: "The server refused the request", text: `${words} One of the settings may not fit this model.`, actions: ["settings", "retry"] };
  if (error.kind === "http" || error.kind === "stream") return { title: "The server reported an error", text: words, actions: ["retry"] };
  return { title: "Something went wrong in the page", text: words, actions: ["retry"] };
}

function sentence(text) {
  const words = String(text ?? "").trim();
  if (words === "") return "";
  const start = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
