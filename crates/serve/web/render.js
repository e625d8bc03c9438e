// Markdown's blocks as nodes. Model text enters the page only as text nodes and as links that inline.js found safe.

import { Growing } from "./markdown.js";
import { colour } from "./highlight.js";
import { copyFrom, iconButton, make } from "./dom.js";

/** An element that shows growing Markdown. What is final is never touched again: a selection in it stays. */
export class MarkdownView {
  constructor() {
    this.element = make("div.markdown");
    this.growing = new Growing();
    this.shown = []; // the blocks that `element` shows, child by child
  }
  update(text) {
    const kept = this.growing.update(text);
    patchAll(this.element, this.shown, this.growing.blocks, kept);
    this.shown = this.growing.blocks.slice();
  }
}

/** Makes the children of `element` from index `kept` on show `fresh` instead of `old`. */
function patchAll(element, old, fresh, kept = 0) {
  for (let i = kept; i < fresh.length; i++) {
    const child = element.children[i];
    if (!child) element.append(build(fresh[i]));
    else if (!patch(child, old[i], fresh[i])) child.replaceWith(build(fresh[i]));
  }
  while (element.children.length > fresh.length) element.lastElementChild.remove();
}

/** Changes a node that shows `old` into one that shows `fresh`, as little as possible; false if it must be made anew. */
function patch(node, old, fresh) {
  if (old.type !== fresh.type) return false;
  if (old.type === "code") {
    if (old.lang !== fresh.lang || !fresh.open || !fresh.text.startsWith(old.text)) return same(old, fresh);
    // Code is coloured when it is complete; until then its text only grows.
    node.querySelector("code").append(fresh.text.slice(old.text.length));
    return true;
  }
  if (old.type === "list") {
    if (old.ordered !== fresh.ordered || old.loose !== fresh.loose || old.start !== fresh.start) return false;
    patchAll(node, old.items, fresh.items);
    return true;
  }
  if (old.type === "quote" || (old.type === "item" && old.task === null && fresh.task === null)) {
    patchAll(node, old.blocks, fresh.blocks);
    return true;
  }
  if (old.type === "table" && same(old.head, fresh.head) && same(old.align, fresh.align)) {
    const body = node.querySelector("tbody");
    fresh.rows.forEach((row, i) => {
      if (i < old.rows.length && same(row, old.rows[i])) return;
      const made = tableRow("td", row, fresh.align);
      if (body.children[i]) body.children[i].replaceWith(made);
      else body.append(made);
    });
    return fresh.rows.length >= old.rows.length;
  }
  return same(old, fresh);
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function build(block) {
  switch (block.type) {
    case "heading":
      // The page's own headings are h1 and h2, so an answer's begin below.
      return make(`h${Math.min(6, block.level + 2)}`, {}, spans(block.inline));
    case "paragraph":
      return make("p", {}, spans(block.inline));
    case "rule":
      return make("hr");
    case "quote":
      return make("blockquote", {}, block.blocks.map(build));
    case "list":
      return make(`${block.ordered ? "ol" : "ul"}${block.loose ? ".loose" : ""}`, block.ordered ? { start: block.start } : {}, block.items.map(build));
    case "item": {
      const box = block.task !== null && make("input", { type: "checkbox", checked: block.task, disabled: true, "aria-label": block.task ? "done" : "to do" });
      return make(`li${box ? ".task" : ""}`, {}, box, block.blocks.map(build));
    }
    case "table":
      // The box scrolls sideways, never the page; a box that scrolls can be reached by keyboard.
      return make("div.table", { tabIndex: 0, role: "region", "aria-label": "Table" }, make("table", {},
        make("thead", {}, tableRow("th", block.head, block.align)), make("tbody", {}, block.rows.map((row) => tableRow("td", row, block.align)))));
    case "code":
      return code(block);
    case "tex":
      return make("pre.tex", { tabIndex: 0, role: "region", "aria-label": "Formula" }, block.text);
    default:
      return make("p");
  }
}

function tableRow(tag, row, align) {
  return make("tr", {}, row.map((cell, i) => make(`${tag}${align[i] ? `.${align[i]}` : ""}`, {}, spans(cell))));
}

function code(block) {
  const text = make("code");
  const pieces = block.open ? [[null, block.text]] : colour(block.text, block.lang);
  for (const [kind, piece] of pieces) text.append(kind ? make(`span.${kind}`, {}, piece) : piece);
  const name = block.lang.split(/\s/, 1)[0] || "text";
  const button = iconButton("copy", "Copy code", () => copyFrom(button, text.textContent));
  return make("div.code", {}, make("div.code-head", {}, make("span", {}, name), button),
    make("pre", { tabIndex: 0, role: "region", "aria-label": `Code, ${name}` }, text));
}

function spans(nodes) {
  return nodes.map((node) => {
    switch (node.type) {
      case "text":
        return node.text;
      case "br":
        return make("br");
      case "code":
        return make("code", {}, node.text);
      case "math":
        return make("code.math", {}, node.text);
      case "link":
        return node.href
          ? make("a", { href: node.href, target: "_blank", rel: "noopener noreferrer" }, spans(node.children))
          : make("span", {}, spans(node.children));
      default:
        return make(node.type, {}, spans(node.children)); // em, strong, del
    }
  });
}
