// Inline Markdown: emphasis, code, links, line breaks and TeX, as plain data that render.js turns into nodes.
//
// Any text gives some result, and the work grows about linearly with its length: models write endless runs of stars and
// brackets when they derail, and the page must stay usable. The emphasis rules are CommonMark's (delimiter stack), with
// two exceptions that models' habits ask for: a star needs no punctuation rules (Chinese and Japanese text), and every
// newline is a break.

const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}_]/u;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&apos;": "'", "&nbsp;": "\u00a0" };
// Limited repetitions, so that no text makes the expression backtrack far.
const TARGET =
  /\(\s{0,9}(<[^<>\n]{0,2000}>|[^\s()]{0,2000}(?:\([^\s()]{0,500}\)[^\s()]{0,500}){0,20})(?:\s{1,9}(?:"[^"]{0,500}"|'[^']{0,500}'))?\s{0,9}\)/y;
const BARE = /https?:\/\/[^\s<>"'`*\\^{}|]{1,2000}/y;
const BREAK = /<br\s?\/?>/iy;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const ENTITY = /&(?:amp|lt|gt|quot|#39|apos|nbsp);/y;

/** The address if it may become a link, else null: only http, https and mailto, never a script or a relative path. */
export function safeLink(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A doubly linked list of nodes: wrapping what lies between two delimiters then costs only what it wraps. */
class Chain {
  constructor() {
    this.head = { type: "head", prev: null, next: null };
    this.tail = this.head;
  }
  push(node) {
    node.prev = this.tail;
    node.next = null;
    this.tail.next = node;
    this.tail = node;
    return node;
  }
  text(value) {
    if (this.tail.type === "text" && !this.tail.mark) this.tail.text += value;
    else this.push({ type: "text", text: value });
  }
  remove(node) {
    node.prev.next = node.next;
    if (node.next) node.next.prev = node.prev;
    else this.tail = node.prev;
  }
  /** Takes out everything after `from` and before `to` (null: to the end), puts `node` there, and gives what was taken out. */
  wrap(from, to, node) {
    const first = from.next;
    const last = to ? to.prev : this.tail;
    if (first === to || !first) return null;
    from.next = node;
    node.prev = from;
    node.next = to;
    if (to) to.prev = node;
    else this.tail = node;
    first.prev = null;
    last.next = null;
    node.first = first;
    return node;
  }
}

/** Parses the text of a paragraph, heading or cell into nodes: `{type, text | children, href}`. */
export function inline(text) {
  const chain = new Chain();
  const brackets = [];
  const missing = new Set(); // lengths of backtick runs that have no partner any more
  let delims = null; // the top of the delimiter stack
  let at = 0;

  const match = (expression) => {
    expression.lastIndex = at;
    return expression.exec(text);
  };

  while (at < text.length) {
    const c = text[at];
    if (c === "\\") {
      const next = text[at + 1];
      const close = next === "(" ? "\\)" : next === "[" ? "\\]" : null;
      const end = close && !missing.has(close) ? text.indexOf(close, at + 2) : -1;
      if (close && end < 0) missing.add(close);
      if (end >= 0) {
        chain.push({ type: "math", text: text.slice(at + 2, end).trim() });
        at = end + 2;
      } else if (next === "\n") {
        at += 1;
      } else if (next && PUNCTUATION.test(next)) {
        chain.text(next);
        at += 2;
      } else {
        chain.text("\\");
        at += 1;
      }
    } else if (c === "`") {
      let end = at;
      while (text[end] === "`") end++;
      const close = missing.has(end - at) ? -1 : findRun(text, end, end - at);
      if (close < 0) {
        missing.add(end - at);
        chain.text(text.slice(at, end));
        at = end;
      } else {
        chain.push({ type: "code", text: codeText(text.slice(end, close)) });
        at = close + (end - at);
      }
    } else if (c === "*" || c === "_" || c === "~") {
      let end = at;
      while (text[end] === c) end++;
      const run = { type: "text", text: text.slice(at, end), mark: true };
      chain.push(run);
      const delim = flanks(text, at, end, c);
      if (delim && (c !== "~" || end - at === 2)) {
        Object.assign(delim, { node: run, ch: c, count: end - at, original: end - at, prev: delims, next: null });
        if (delims) delims.next = delim;
        delims = delim;
      }
      at = end;
    } else if (c === "[" || (c === "!" && text[at + 1] === "[")) {
      const image = c === "!";
      const node = chain.push({ type: "text", text: image ? "![" : "[", mark: true });
      brackets.push({ node, image, delims, active: true });
      at += image ? 2 : 1;
    } else if (c === "]") {
      at += 1;
      const open = brackets.pop();
      const target = open?.active && text[at] === "(" ? match(TARGET) : null;
      if (!target) {
        chain.text("]");
        continue;
      }
      delims = emphasis(chain, delims, open.delims);
      const href = safeLink(target[1].replace(/^<|>$/g, ""));
      const node = { type: "link", href };
      // An image is shown as a link to it: nothing is loaded from elsewhere.
      if (!chain.wrap(open.node, null, node)) chain.text(open.image ? "image" : target[1]);
      chain.remove(open.node);
      if (!open.image) for (const bracket of brackets) if (!bracket.image) bracket.active = false;
      at = TARGET.lastIndex;
    } else if (c === "<") {
      const br = match(BREAK);
      const angle = br ? null : match(ANGLE);
      if (br) {
        chain.push({ type: "br" });
        at += br[0].length;
      } else if (angle) {
        chain.push({ type: "link", href: safeLink(angle[1]), children: [{ type: "text", text: angle[1].replace(/^mailto:/, "") }] });
        at += angle[0].length;
      } else {
        chain.text("<");
        at += 1;
      }
    } else if (c === "\n") {
      if (chain.tail.type === "text") chain.tail.text = chain.tail.text.replace(/ {1,99}$/, "");
      chain.push({ type: "br" });
      at += 1;
      while (text[at] === " ") at++;
    } else if (c === "&" && match(ENTITY)) {
      const entity = match(ENTITY)[0];
      chain.text(ENTITIES[entity]);
      at += entity.length;
    } else if (c === "$") {
      at = tex(text, at, chain);
    } else if (c === "h" && !WORD.test(text[at - 1] ?? " ") && match(BARE)) {
      const address = bareAddress(match(BARE)[0]);
      chain.push({ type: "link", href: safeLink(address), children: [{ type: "text", text: address }] });
      at += address.length;
    } else {
      let end = at + 1;
      while (end < text.length && !"\\`*_~[]!<\n&$h".includes(text[end])) end++;
      chain.text(text.slice(at, end));
      at = end;
    }
  }
  emphasis(chain, delims, null);
  return collect(chain.head.next);
}

/** `$x$` as TeX: the signs must touch the formula and no digit may follow, so that prices stay prices. Gives where it ends. */
function tex(text, at, chain) {
  const double = text[at + 1] === "$";
  const start = at + (double ? 2 : 1);
  const line = text.slice(start, start + 600);
  const end = line.search(double ? /\$\$/ : /[$\n]/);
  const inner = end > 0 && line[end] === "$" ? line.slice(0, end) : "";
  const tight = inner !== "" && (double || (!/^\s|\s$/.test(inner) && !/\d/.test(line[end + 1] ?? "")));
  if (!tight) {
    chain.text(double ? "$$" : "$");
    return start;
  }
  chain.push({ type: "math", text: inner.trim() });
  return start + end + (double ? 2 : 1);
}

function findRun(text, from, length) {
  let at = from;
  while ((at = text.indexOf("`", at)) >= 0) {
    let end = at;
    while (text[end] === "`") end++;
    if (end - at === length) return at;
    at = end;
  }
  return -1;
}

function codeText(text) {
  const line = text.replace(/\n/g, " ");
  const padded = line.length > 2 && line.startsWith(" ") && line.endsWith(" ") && line.trim() !== "";
  return padded ? line.slice(1, -1) : line;
}

/** What a run of stars, underscores or tildes may do; null if nothing. */
function flanks(text, from, to, ch) {
  const before = text[from - 1] ?? " ";
  const after = text[to] ?? " ";
  let open = !/\s/.test(after);
  let close = !/\s/.test(before);
  if (ch === "_") {
    // Names_with_underscores are not emphasis.
    const left = WORD.test(before);
    const right = WORD.test(after);
    [open, close] = [open && !left, close && !right];
  }
  return open || close ? { open, close } : null;
}

/** Turns the delimiters above `bottom` into emphasis; gives the new top of the stack, which is `bottom`. */
function emphasis(chain, top, bottom) {
  const floors = new Map(); // below these no opener of that kind is left
  let closer = top;
  while (closer && closer.prev !== bottom) closer = closer.prev;
  if (top === bottom) return bottom;
  while (closer) {
    if (!closer.close) {
      closer = closer.next;
      continue;
    }
    const kind = `${closer.ch}${closer.open}${closer.original % 3}`;
    const floor = floors.has(kind) ? floors.get(kind) : bottom;
    let opener = closer.prev;
    const fits = (o) =>
      o.ch === closer.ch && o.open &&
      !((closer.open || o.close) && closer.original % 3 !== 0 && (o.original + closer.original) % 3 === 0);
    while (opener && opener !== bottom && opener !== floor && !fits(opener)) opener = opener.prev;
    if (!opener || opener === bottom || opener === floor) {
      floors.set(kind, closer.prev);
      const next = closer.next;
      if (!closer.open) unlink(closer);
      closer = next;
      continue;
    }
    const used = opener.count >= 2 && closer.count >= 2 ? 2 : 1;
    const type = closer.ch === "~" ? "del" : used === 2 ? "strong" : "em";
    opener.next = closer; // what lies between them has found no partner
    closer.prev = opener;
    chain.wrap(opener.node, closer.node, { type });
    for (const side of [opener, closer]) {
      side.count -= used;
      side.node.text = side.node.text.slice(used);
    }
    if (opener.count === 0) {
      chain.remove(opener.node);
      unlink(opener);
    }
    if (closer.count === 0) {
      const next = closer.next;
      chain.remove(closer.node);
      unlink(closer);
      closer = next;
    }
  }
  if (bottom) bottom.next = null;
  return bottom;
}

function unlink(delim) {
  if (delim.prev) delim.prev.next = delim.next;
  if (delim.next) delim.next.prev = delim.prev;
}

function bareAddress(address) {
  let end = address.length;
  let excess = address.split(")").length - address.split("(").length;
  // A full stop or bracket after an address belongs to the sentence, unless the bracket was opened in it.
  while (end > 0) {
    const last = address[end - 1];
    if (last === ")" ? excess <= 0 : !/[.,;:!?\]_~]/.test(last)) break;
    if (last === ")") excess--;
    end--;
  }
  return address.slice(0, end);
}

/** The linked nodes as arrays, neighbouring texts joined. Depth is limited, since thousands of stars nest thousands deep. */
function collect(node, depth = 0) {
  const nodes = [];
  for (; node; node = node.next) {
    if (node.type === "text") {
      if (node.text === "") continue;
      const last = nodes[nodes.length - 1];
      if (last?.type === "text") last.text += node.text;
      else nodes.push({ type: "text", text: node.text });
    } else if (node.first) {
      const children = depth < 20 ? collect(node.first, depth + 1) : [{ type: "text", text: flat(node.first) }];
      nodes.push(node.type === "link" ? { type: "link", href: node.href, children } : { type: node.type, children });
    } else {
      const { prev, next, first, mark, ...rest } = node;
      nodes.push(rest);
    }
  }
  return nodes;
}

/** The bare text below a node, without recursion. */
function flat(node) {
  const stack = [node];
  let text = "";
  while (stack.length) {
    const top = stack.pop();
    if (!top) continue;
    stack.push(top.next);
    if (top.first) stack.push(top.first);
    text += top.text ?? top.children?.map((child) => child.text).join("") ?? "";
  }
  return text;
}
