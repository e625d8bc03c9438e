// A conversation is a tree: editing a message or asking again makes a sibling, and nothing is lost. `leaf` says which way
// is shown. Messages are plain objects `{id, chat, parent, role, content, ...}`; everything here is pure.

/** An id that sorts by time. `crypto.randomUUID` is not there on plain http, so it is made of what is. */
export function newId() {
  const random = crypto.getRandomValues(new Uint32Array(2));
  return Date.now().toString(36).padStart(9, "0") + Array.from(random, (word) => word.toString(36).padStart(7, "0")).join("");
}

/** The messages from the first to `leaf`. */
export function path(messages, leaf) {
  const out = [];
  const seen = new Set();
  for (let at = messages.get(leaf); at && !seen.has(at.id); at = messages.get(at.parent)) {
    seen.add(at.id);
    out.push(at);
  }
  return out.reverse();
}

/** The messages with the same parent, oldest first. */
export function siblings(messages, message) {
  return [...messages.values()].filter((other) => other.parent === message.parent).sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The end of the newest way through `message`. */
export function newestLeaf(messages, message) {
  const newest = new Map();
  for (const other of messages.values()) {
    const known = newest.get(other.parent);
    if (!known || known.id < other.id) newest.set(other.parent, other);
  }
  let at = message;
  for (let steps = messages.size; steps > 0 && newest.has(at.id); steps--) at = newest.get(at.id);
  return at;
}

/** `message` and everything that follows from it. */
export function below(messages, message) {
  const children = new Map();
  for (const each of messages.values()) {
    if (!children.has(each.parent)) children.set(each.parent, []);
    children.get(each.parent).push(each);
  }
  const out = new Set();
  const stack = [message];
  while (stack.length) {
    const top = stack.pop();
    if (out.has(top)) continue; // an import may go round in a circle
    out.add(top);
    stack.push(...(children.get(top.id) ?? []));
  }
  return [...out];
}

/** A title made of the first words of the first message. */
export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  if (line.length <= 60) return line || "New chat";
  const cut = line.slice(0, 60);
  return (cut.lastIndexOf(" ") > 30 ? cut.slice(0, cut.lastIndexOf(" ")) : cut) + "…";
}
