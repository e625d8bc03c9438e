// The settings of a chat: one table, from which the form is made and requests are filled in. A chat's own value goes before
// the person's default, and that before the model's, which is what the server takes when nothing is sent.

import { small } from "./store.js";

/** `place`: where in a request the value goes. A choice's first row is what nothing chosen means. */
export const FIELDS = [
  { key: "system", label: "System message", kind: "text", hint: "What the model is told before everything else.", place: "system" },
  { key: "temperature", label: "Temperature", kind: "number", min: 0, max: 5, step: 0.05, hint: "0 always takes the likeliest word; higher is more varied.", place: "options" },
  { key: "top_p", label: "Top-p", kind: "number", min: 0, max: 1, step: 0.01, hint: "Only the likeliest words that together have this probability.", place: "options" },
  { key: "top_k", label: "Top-k", kind: "whole", min: 0, hint: "Only this many of the likeliest words; 0 is all.", place: "options" },
  { key: "seed", label: "Seed", kind: "whole", min: 0, hint: "The same seed and settings give the same answer.", place: "options" },
  { key: "num_ctx", label: "Context length", kind: "whole", min: 1, hint: "Tokens the model can look back on. More needs more memory.", place: "options" },
  { key: "num_predict", label: "Longest answer", kind: "whole", min: -2, hint: "Tokens after which an answer ends; -1 is no limit.", place: "options" },
  { key: "truncate", label: "When the context is full", kind: "choice", choices: [["no", "Say so and stop"], ["yes", "Leave out the oldest messages"]], place: "truncate" },
  { key: "think", label: "Thinking", kind: "choice", choices: [["model", "As the model does"], ["yes", "On"], ["no", "Off"]], hint: "Only for models that can think first.", place: "think" },
  { key: "keep_alive", label: "Stay in memory", kind: "short", hint: "How long after an answer: 10m, 1h, -1 for always, 0 to unload.", place: "top" },
  { key: "format", label: "Answer as", kind: "choice", choices: [["text", "Text"], ["json", "JSON"], ["schema", "JSON by a schema"]], place: "format" },
  { key: "schema", label: "JSON schema", kind: "text", code: true, hint: "Used when “JSON by a schema” is chosen.", place: "schema" },
];

export const defaults = () => small.get("defaults", {});
export const setDefaults = (values) => small.set("defaults", values);

/** The value of a field as typed, or an error text. */
export function checked(field, typed) {
  const text = typed.trim();
  if (text === "") return { value: null };
  if (field.key === "schema") {
    try {
      JSON.parse(text);
      return { value: text };
    } catch (error) {
      return { error: `Not JSON: ${error.message}` };
    }
  }
  if (field.kind !== "number" && field.kind !== "whole") return { value: field.kind === "text" ? typed : text };
  const number = Number(text.replace(",", "."));
  if (!Number.isFinite(number)) return { error: "Not a number" };
  if (field.kind === "whole" && !Number.isSafeInteger(number)) return { error: "Must be a whole number" };
  if (number < (field.min ?? -Infinity)) return { error: `Must be at least ${field.min}` };
  if (number > (field.max ?? Infinity)) return { error: `Must be at most ${field.max}` };
  return { value: number };
}

/** What a request carries: `{system, top, options}`. */
export function effective(own, base = defaults()) {
  const values = { ...base, ...own };
  const out = { system: (values.system ?? "").trim(), top: {}, options: {} };
  for (const field of FIELDS) {
    const value = values[field.key];
    if (value === null || value === undefined || value === "") continue;
    if (field.place === "options") out.options[field.key] = value;
    else if (field.place === "top") out.top[field.key] = /^-?\d+$/.test(value) ? Number(value) : value;
    else if (field.place === "truncate" && value === "yes") Object.assign(out.top, { truncate: true, shift: true });
    else if (field.place === "think" && value !== "model") out.top.think = value === "yes";
    else if (field.place === "format" && value === "json") out.top.format = "json";
    else if (field.place === "format" && value === "schema" && values.schema) out.top.format = JSON.parse(values.schema);
  }
  return out;
}
