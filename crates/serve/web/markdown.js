// Block Markdown as plain data, and the incremental reader for text that is still growing.
//
// Read are: headings (#), paragraphs, lists (nested, loose, tasks), fenced code, quotes, tables, rules and displayed TeX.
// Deliberately absent: HTML, indented code, underlined headings, reference links and footnotes. Models write the first as
// text that is to be seen, and the others almost only by accident. Any text gives some result.

import { inline } from "./inline.js";

const DEPTH = 8; // quotes and lists nested deeper are shown as text
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
const QUOTE = /^ {0,3}>/;
const MARKER = /^(\s*)([-*+]|\d{1,9}[.)])(?:([ \t]+)(.*)|)$/;
const DELIMITER = /^:?-+:?$/;
const TEX_OPEN = /^ {0,3}(\$\$|\\\[)(.*)$/;

/** Parses a whole text into blocks: `{type, ...}`; what each type holds is said where it is made. */
export function parse(text) {
  return blocks(text.split("\n"), 0).map(({ from, ...block }) => block);
}

/**
 * Parses a text that grows at its end. All blocks but the last are final, because no later line can change them; so each
 * update parses from the beginning of the last block only.
 */
export class Growing {
  constructor() {
    this.text = "";
    this.blocks = [];
    this.stable = 0; // blocks that are final
    this.offset = 0; // where in the text the first block begins that is not
  }
  /** Takes the text so far; gives how many of the earlier blocks still hold, and replaces the others in `blocks`. */
  update(text) {
    if (!text.startsWith(this.text)) Object.assign(this, new Growing());
    this.text = text;
    const kept = this.stable;
    const lines = text.slice(this.offset).split("\n");
    const fresh = blocks(lines, 0);
    this.blocks.length = kept;
    this.blocks.push(...fresh);
    // The last line may still become something else, and a table is known by its second line only: a block that begins in
    // the last two lines does not end the one before.
    let final = fresh.length - 1;
    while (final > 0 && fresh[final].from >= lines.length - 2) final--;
    if (final > 0) {
      this.stable = kept + final;
      for (let line = 0; line < fresh[final].from; line++) this.offset += lines[line].length + 1;
    }
    return kept;
  }
}

function blocks(lines, depth) {
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (line.trim() === "") {
      at++;
      continue;
    }
    const from = at;
    let block = null;
    [block, at] =
      fence(lines, at) ?? heading(line, at) ?? rule(line, at) ?? (depth < DEPTH ? quote(lines, at, depth) : null) ??
      (depth < DEPTH ? list(lines, at, depth) : null) ?? table(lines, at) ?? display(lines, at) ?? paragraph(lines, at);
    block.from = from;
    out.push(block);
  }
  return out;
}

/** `{type: "code", lang, text, open}`: open while the closing fence has not come. */
function fence(lines, at) {
  const start = FENCE.exec(lines[at]);
  if (!start || (start[1][0] === "`" && start[2].includes("`"))) return null;
  const spaces = indent(lines[at]);
  const code = [];
  for (let i = at + 1; i < lines.length; i++) {
    if (closes(lines[i], start[1])) return [{ type: "code", lang: start[2].trim(), text: code.join("\n"), open: false }, i + 1];
    code.push(strip(lines[i], spaces));
  }
  return [{ type: "code", lang: start[2].trim(), text: code.join("\n"), open: true }, lines.length];
}

function closes(line, opening) {
  const end = FENCE.exec(line);
  return end !== null && end[1][0] === opening[0] && end[1].length >= opening.length && end[2].trim() === "";
}

/** `{type: "heading", level, inline}`. */
function heading(line, at) {
  const start = HEADING.exec(line);
  if (!start) return null;
  const text = line.slice(start[0].length).trim();
  let end = text.length;
  while (text[end - 1] === "#") end--;
  const closed = end === 0 || /\s/.test(text[end - 1]) ? text.slice(0, end).trim() : text;
  return [{ type: "heading", level: start[1].length, inline: inline(closed) }, at + 1];
}

/** `{type: "rule"}`. */
function rule(line, at) {
  return RULE.test(line) ? [{ type: "rule" }, at + 1] : null;
}

/** `{type: "quote", blocks}`. */
function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  const inner = [];
  for (; at < lines.length && QUOTE.test(lines[at]); at++) inner.push(lines[at].replace(/^ {0,3}> ?/, ""));
  return [{ type: "quote", blocks: blocks(inner, depth + 1) }, at];
}

/** `{type: "list", ordered, start, loose, items: [{type: "item", task: null | boolean, blocks}]}`. */
function list(lines, at, depth) {
  const first = MARKER.exec(lines[at]);
  if (!first) return null;
  const kind = first[2].slice(-1);
  const ordered = /\d/.test(first[2]);
  const node = { type: "list", ordered, start: ordered ? parseInt(first[2], 10) : 1, loose: false, items: [] };
  while (at < lines.length) {
    const marker = MARKER.exec(lines[at]);
    if (!marker || marker[2].slice(-1) !== kind || RULE.test(lines[at])) break;
    const left = width(marker[1]);
    const gap = marker[3] === undefined || marker[3].length > 4 ? 1 : marker[3].length;
    let content = left + marker[2].length + gap;
    const inner = [(marker[3]?.slice(gap) ?? "") + (marker[4] ?? "")];
    let open = FENCE.exec(inner[0])?.[1] ?? null;
    let blank = 0;
    let gapInside = false;
    for (at++; at < lines.length; at++) {
      const line = lines[at];
      if (line.trim() === "") {
        inner.push("");
        blank++;
        continue;
      }
      const spaces = indent(line);
      // Two spaces are enough for a list below a number: models indent so, though the standard asks for three.
      const inside = spaces >= content || (!open && spaces >= left + 2 && MARKER.test(line));
      if (inside) content = Math.min(content, spaces);
      const lazy = !inside && !open && blank === 0 && inner[inner.length - 1] !== "" && !MARKER.test(line) && !begins(lines, at);
      if (!inside && !lazy) break;
      const text = lazy ? line.trimStart() : strip(line, content);
      if (open ? closes(text, open) : FENCE.test(text)) open = open ? null : FENCE.exec(text)[1];
      if (blank > 0) gapInside = true;
      blank = 0;
      inner.push(text);
    }
    inner.length -= blank;
    const task = /^\[([ xX])\][ \t]+/.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(task[0].length);
    node.items.push({ type: "item", task: task ? task[1] !== " " : null, blocks: blocks(inner, depth + 1) });
    const next = at < lines.length ? MARKER.exec(lines[at]) : null;
    if (gapInside || (blank > 0 && next?.[2].slice(-1) === kind)) node.loose = true;
  }
  return node.items.length > 0 ? [node, at] : null;
}

/** `{type: "table", align: ["" | "left" | "center" | "right"], head: [inline], rows: [[inline]]}`. */
function table(lines, at) {
  if (!isTable(lines, at)) return null;
  const marks = cells(lines[at + 1]);
  const align = marks.map((mark) => ["", "left", "right", "center"][(mark.startsWith(":") ? 1 : 0) + (mark.endsWith(":") ? 2 : 0)]);
  const head = cells(lines[at]).map(inline);
  const rows = [];
  for (at += 2; at < lines.length && lines[at].includes("|") && lines[at].trim() !== ""; at++) {
    const row = cells(lines[at]).slice(0, head.length).map(inline);
    while (row.length < head.length) row.push([]);
    rows.push(row);
  }
  return [{ type: "table", align, head, rows }, at];
}

function isTable(lines, at) {
  const next = lines[at + 1];
  if (next === undefined || !lines[at].includes("|") || !next.includes("-") || next.length > 2000) return false;
  const marks = cells(next);
  return marks.every((mark) => DELIMITER.test(mark)) && cells(lines[at]).length === marks.length;
}

function cells(line) {
  const row = line.trim().replace(/^\|/, "");
  const out = [];
  let cell = "";
  for (let i = 0; i < row.length; i++) {
    if (row[i] === "\\" && row[i + 1] === "|") {
      cell += "|";
      i++;
    } else if (row[i] === "|") {
      out.push(cell.trim());
      cell = "";
    } else cell += row[i];
  }
  if (cell.trim() !== "" || !row.endsWith("|")) out.push(cell.trim());
  return out;
}

/** `{type: "tex", text}`: displayed TeX between `$$` or `\[ \]`, shown as it is written. */
function display(lines, at) {
  const start = TEX_OPEN.exec(lines[at]);
  if (!start) return null;
  const close = start[1] === "$$" ? "$$" : "\\]";
  const text = [];
  for (let i = at; i < lines.length; i++) {
    const line = i === at ? start[2] : lines[i];
    const end = line.indexOf(close);
    if (end >= 0 && line.slice(end + 2).trim() !== "") return null;
    text.push(end >= 0 ? line.slice(0, end) : line);
    if (end >= 0) return [{ type: "tex", text: text.join("\n").trim() }, i + 1];
    if (line.trim() === "" && i > at && i < lines.length - 1) return null;
  }
  return [{ type: "tex", text: text.join("\n").trim() }, lines.length];
}

/** `{type: "paragraph", inline}`. */
function paragraph(lines, at) {
  const text = [lines[at].trimStart()];
  for (at++; at < lines.length && lines[at].trim() !== "" && !begins(lines, at); at++) text.push(lines[at].trimStart());
  return [{ type: "paragraph", inline: inline(text.join("\n").trimEnd()) }, at];
}

/** Whether a block begins here that ends a paragraph. */
function begins(lines, at) {
  const line = lines[at];
  const marker = MARKER.exec(line);
  if (marker && marker[3] !== undefined && marker[4] !== "" && (!/\d/.test(marker[2]) || parseInt(marker[2], 10) === 1)) return true;
  return HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || fence([line], 0) !== null || isTable(lines, at) ||
    TEX_OPEN.test(line);
}

function width(spaces) {
  let columns = 0;
  for (const c of spaces) columns += c === "\t" ? 4 - (columns % 4) : 1;
  return columns;
}

function indent(line) {
  return width(/^[ \t]*/.exec(line)[0]);
}

/** The line without its first `columns` columns of white space. */
function strip(line, columns) {
  let at = 0;
  let done = 0;
  while (done < columns && (line[at] === " " || line[at] === "\t")) {
    done += line[at] === "\t" ? 4 - (done % 4) : 1;
    at++;
  }
  return " ".repeat(Math.max(0, done - columns)) + line.slice(at);
}
