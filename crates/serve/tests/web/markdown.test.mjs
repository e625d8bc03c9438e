// The Markdown reader: what each construct becomes, that growing text gives the same as whole text, and that any text is
// read, in a time that grows with its length only.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Growing, parse } from "../../web/markdown.js";
import { safeLink } from "../../web/inline.js";
import { colour } from "../../web/highlight.js";

/** A short form of the tree, to write expectations in: `p(a em(b))`. */
function short(blocks) {
  return blocks.map((block) => {
    switch (block.type) {
      case "paragraph": return `p(${flat(block.inline)})`;
      case "heading": return `h${block.level}(${flat(block.inline)})`;
      case "quote": return `quote(${short(block.blocks)})`;
      case "list": return `${block.ordered ? `ol${block.start}` : "ul"}${block.loose ? "+" : ""}(${block.items.map((item) => (item.task === null ? "" : item.task ? "[x]" : "[ ]") + short(item.blocks)).join(" | ")})`;
      case "code": return `code[${block.lang}${block.open ? "…" : ""}](${block.text})`;
      case "table": return `table[${block.align}](${[block.head, ...block.rows].map((row) => row.map(flat).join(" | ")).join(" / ")})`;
      case "tex": return `tex(${block.text})`;
      default: return block.type;
    }
  }).join(" ");
}
function flat(nodes) {
  return nodes.map((node) => {
    if (node.type === "text") return node.text;
    if (node.type === "br") return "⏎";
    if (node.type === "link") return `a[${node.href}](${flat(node.children)})`;
    return `${node.type}(${node.text ?? flat(node.children)})`;
  }).join("");
}

const CASES = [
  ["paragraphs and breaks", "a\nb\n\nc  \nd", "p(a⏎b) p(c⏎d)"],
  ["headings", "# A #\n## b*c*\n#hash\n####### no", "h1(A) h2(bem(c)) p(#hash⏎####### no)"],
  ["a heading ends a paragraph", "text\n### x", "p(text) h3(x)"],
  ["emphasis", "*a* **b** ***c*** _d_ __e__ ~~f~~", "p(em(a) strong(b) em(strong(c)) em(d) strong(e) del(f))"],
  ["nested emphasis", "**a *b* c** *a **b** c*", "p(strong(a em(b) c) em(a strong(b) c))"],
  ["what is no emphasis", "a * b * c, snake_case_name, 2 ** 3, *open", "p(a * b * c, snake_case_name, 2 ** 3, *open)"],
  ["emphasis without spaces, as in Chinese", "他说**「好」**吗", "p(他说strong(「好」)吗)"],
  ["inline code", "`a*b*` ``x`y`` ` z ` `open", "p(code(a*b*) code(x`y) code(z) `open)"],
  ["escapes", "\\*a\\* \\` \\q", "p(*a* ` \\q)"],
  ["links", "[a](https://x.org/p_(q)) <https://y.org> https://z.org/a_b, (https://w.org/).", "p(a[https://x.org/p_(q)](a) a[https://y.org/](https://y.org) a[https://z.org/a_b](https://z.org/a_b), (a[https://w.org/](https://w.org/)).)"],
  ["a link with emphasis and a title", '[*a* b](https://x.org "t")', "p(a[https://x.org/](em(a) b))"],
  ["a picture is a link: nothing is loaded", "![alt](https://x.org/i.png)", "p(a[https://x.org/i.png](alt))"],
  ["addresses that may not be links", "[a](javascript:alert(1)) [b](data:text/html,x) [c](/etc) [d](vbscript:x)", "p(a[null](a) a[null](b) a[null](c) a[null](d))"],
  ["HTML is text, but a break is a break", "<b>x</b><br>y<script>", "p(<b>x</b>⏎y<script>)"],
  ["entities", "a &lt; b &amp;&amp; c &nbsp;&zz;", "p(a < b && c \u00a0&zz;)"],
  ["money is not TeX", "it costs $5 or $6, not $x$", "p(it costs $5 or $6, not math(x))"],
  ["TeX in both spellings", "\\(a_1 * b_2 * c\\) and \\[d\\]", "p(math(a_1 * b_2 * c) and math(d))"],
  ["displayed TeX", "$$\na_1\n$$\n\\[ b \\]", "tex(a_1) tex(b)"],
  ["lists", "- a\n- b\n\n* c", "ul(p(a) | p(b)) ul(p(c))"],
  ["nested lists, two spaces below a number too", "1. a\n  - b\n    - c\n2. d", "ol1(p(a) ul(p(b) ul(p(c))) | p(d))"],
  ["a loose list", "- a\n\n- b", "ul+(p(a) | p(b))"],
  ["a list that begins later", "3) c\n4) d", "ol3(p(c) | p(d))"],
  ["items of several blocks", "1. a\n\n   b\n   ```js\n   c\n   ```\n2. d", "ol1+(p(a) p(b) code[js](c) | p(d))"],
  ["a lazy line goes on", "- a\nb\n- c", "ul(p(a⏎b) | p(c))"],
  ["a year does not begin a list", "It was in\n1984. Then", "p(It was in⏎1984. Then)"],
  ["tasks", "- [x] a\n- [ ] b\n- [y] c", "ul([x]p(a) | [ ]p(b) | p([y] c))"],
  ["code", "```rust\nfn f() {}\n\n# no\n```\nafter", "code[rust](fn f() {}\n\n# no) p(after)"],
  ["code that is still coming", "~~~\na\n```", "code[…](a\n```)"],
  ["a fence needs its length", "````\n```\n````", "code[](```)"],
  ["quotes", "> a\n> > b\n> - c\n\nd", "quote(p(a) quote(p(b)) ul(p(c))) p(d)"],
  ["rules", "a\n---\nb\n* * *\n___", "p(a) rule p(b) rule rule"],
  ["tables", "| a | b |\n|:--|--:|\n| 1 | `x\\|y` |\n| 2 |\nend", "table[left,right](a | b / 1 | code(x|y) / 2 | ) p(end)"],
  ["a table after a line, without outer bars", "see\na | b\n:-:|-\n1 | 2", "p(see) table[center,](a | b / 1 | 2)"],
  ["what looks like a table", "a | b\nc | d\n\n| x |\n|y|", "p(a | b⏎c | d) p(| x |⏎|y|)"],
  ["nothing", "\n \n", ""],
];
for (const [name, text, expected] of CASES) test(`markdown: ${name}`, () => assert.equal(short(parse(text)), expected));

const PIECES = ["*", "**", "_", "`", "```", "~~~", "[", "](", "https://a.b", ")", "\n", "\n\n", "- ", "1. ", "> ", "#", " ", "  ", "    ", "|", "--", "|-|-|\n", "a", "word",
  "$", "$$", "\\[", "\\]", "\\(", "<br>", "&amp;", "\\", "!", "~~", "---", "***", "[x] ", "\t", "é", "重", "😀", "\ud83d", "\u0000", "\r"];

/** Random numbers with a fixed seed: a failure comes again. */
function numbers(seed) {
  return (below) => {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return (seed >>> 0) % below;
  };
}

test("growing text gives the same as whole text, however it is cut", () => {
  const random = numbers(20261128);
  for (let round = 0; round < 10_000; round++) {
    const text = Array.from({ length: 1 + random(40) }, () => PIECES[random(PIECES.length)]).join("");
    const growing = new Growing();
    for (let at = 0; at < text.length;) {
      at = Math.min(text.length, at + 1 + random(7));
      const before = growing.blocks.slice();
      const kept = growing.update(text.slice(0, at));
      for (let i = 0; i < kept; i++) assert.equal(growing.blocks[i], before[i], "what is kept is the same object");
    }
    assert.deepEqual(growing.blocks.map(({ from, ...block }) => block), parse(text), JSON.stringify(text));
  }
});

test("a text that does not go on from the last one is read anew", () => {
  const growing = new Growing();
  growing.update("a\n\nb\n\nc\n\n");
  assert.equal(growing.update("x"), 0);
  assert.deepEqual(growing.blocks.map(({ from, ...block }) => block), parse("x"));
});

test("the work grows with the text, not with its square", () => {
  // Not how long it takes, which is the machine's, but how it grows: 16 times the text, of which the square would take 256 times as long.
  const nasty = [...PIECES, "*a ", "[a](", "![", "`a", "[a]( ", "_a_ ", "**a", "> > ", "- - ", "* a\n", "|a", "https://a)", "<https://", "$a", "\\(", "[](a \"", "`` ` "];
  const time = (text) => {
    let best = Infinity;
    for (let i = 0; i < 3; i++) {
      const start = performance.now();
      parse(text);
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };
  for (const piece of nasty) {
    const small = piece.repeat(Math.ceil(3000 / piece.length));
    const ratio = time(small.repeat(16)) / Math.max(time(small), 0.5);
    assert.ok(ratio < 100, `${JSON.stringify(piece)}: ${ratio.toFixed(1)} times as long for 16 times the text`);
  }
});

test("only three schemes may be links", () => {
  assert.equal(safeLink("mailto:a@b.org"), "mailto:a@b.org");
  for (const address of ["javascript:1", " javascript:1", "java\nscript:1", "JAVASCRIPT:1", "data:,x", "file:///etc/passwd", "blob:https://x/1", "//x.org", "x", ""]) {
    assert.equal(safeLink(address), null, address);
  }
});

test("coloured code is the same text", () => {
  const random = numbers(7);
  const pieces = ["\"", "'", "`", "/*", "*/", "//", "#", "--", "<!--", "-->", "<a", ">", "\\", "\n", "fn", "let", "1.5", "é", "@@", "+x", "-y", " "];
  for (const lang of ["rust", "js", "python", "sql", "html", "diff", "json", "", "no-such-language", "C++ {x}"]) {
    for (let round = 0; round < 300; round++) {
      const code = Array.from({ length: random(40) }, () => pieces[random(pieces.length)]).join("");
      assert.equal(colour(code, lang).map(([, text]) => text).join(""), code);
    }
  }
  assert.deepEqual(colour("let x = 1; // one", "rs"), [["word", "let"], [null, " x = "], ["number", "1"], [null, "; "], ["comment", "// one"]]);
  assert.deepEqual(colour("# a\nif 'b': pass", "python").filter(([kind]) => kind).map(([kind]) => kind), ["comment", "word", "string", "word"]);
});
