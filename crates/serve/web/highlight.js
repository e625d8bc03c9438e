// Light colouring of code: comments, strings, numbers, key words. One expression a family of languages, read once from
// front to back. A wrong guess only colours wrongly: the text is the same.

const words = (text) => text.split(" ");
const C_WORDS = words(
  "abstract as async await bool boolean break case catch char class const continue crate debugger default defer delete do double dyn else " +
    "enum export extends extern false final finally float fn for from func function go goto if impl implements import in instanceof int " +
    "interface let long loop match mod move mut namespace new nil null nullptr package private protected pub public readonly ref return " +
    "self short signed sizeof static string struct super switch template this throw throws trait true try type typedef typeof undefined " +
    "union unsafe unsigned use using val var virtual void volatile when where while with yield",
);
const HASH_WORDS = words(
  "and as assert async await begin break case class continue def del do done elif else elsif end esac except export False false fi finally " +
    "for from function global if import in is lambda local module None nil nonlocal not null or pass print raise rescue return self then " +
    "True true try unless until while with yield echo cd sudo set",
);
const SQL_WORDS = words(
  "add all alter and as asc between by case check column commit constraint create default delete desc distinct drop else end exists " +
    "foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer primary " +
    "references right rollback select set table then union unique update values view when where with",
);
const STRING = `"(?:[^"\\\\\\n]|\\\\.)*"|'(?:[^'\\\\\\n]|\\\\.)*'`;
const NUMBER = "\\b\\d[\\w.]*";
const NAME = "[A-Za-z_$][\\w$]*";

/** Families: the expression has the groups comment, string, number, name (looked up among the words) and mark. */
const FAMILIES = [
  {
    langs: words("c h cc cpp c++ cs csharp java js javascript jsx ts typescript tsx rust rs go kotlin kt swift php scala dart zig json json5 css scss"),
    expression: `(\\/\\/[^\\n]*|\\/\\*[^]*?(?:\\*\\/|(?![^])))|(${STRING}|\`(?:[^\`\\\\]|\\\\.)*\`)|(${NUMBER})|(${NAME})`,
    words: C_WORDS,
  },
  {
    langs: words("python py sh bash shell zsh console ruby rb yaml yml toml r perl pl makefile dockerfile ini nix elixir julia modelfile"),
    expression: `(#[^\\n]*)|("""[^]*?(?:"""|(?![^]))|'''[^]*?(?:'''|(?![^]))|${STRING})|(${NUMBER})|(${NAME})`,
    words: HASH_WORDS,
  },
  {
    langs: words("sql sqlite postgres postgresql mysql lua haskell hs ada"),
    expression: `(--[^\\n]*)|(${STRING})|(${NUMBER})|(${NAME})`,
    words: SQL_WORDS,
    fold: true,
  },
  {
    langs: words("html xml svg vue svelte"),
    expression: `(<!--[^]*?(?:-->|(?![^])))|("[^"\\n]*"|'[^'\\n]*')|(&#?\\w+;)|(?!)(.)|(<\\/?[\\w:-]+|\\/?>)`,
    words: [],
  },
  { langs: words("diff patch"), expression: "(^[-][^\\n]*)|(^[+][^\\n]*)|(^@@[^\\n]*)|(?!)(.)", words: [] },
];
const CLASSES = [null, "comment", "string", "number", null, "word"];
const MOST = 30000; // characters: longer code stays plain, so that a phone does not stutter

/** Cuts code into `[class or null, text]` pieces whose texts together are the code. */
export function colour(code, lang) {
  const name = lang.toLowerCase().split(/[\s,{:]/, 1)[0];
  const family = FAMILIES.find((candidate) => candidate.langs.includes(name));
  if (!family || code.length > MOST) return [[null, code]];
  family.compiled ??= new RegExp(family.expression, "gm");
  family.set ??= new Set(family.words);
  const pieces = [];
  let done = 0;
  for (const match of code.matchAll(family.compiled)) {
    const group = [1, 2, 3, 4, 5].find((index) => match[index] !== undefined);
    const word = group === 4 && family.set.has(family.fold ? match[0].toLowerCase() : match[0]);
    const kind = word ? "word" : CLASSES[group];
    if (!kind || match[0] === "") continue;
    if (match.index > done) pieces.push([null, code.slice(done, match.index)]);
    pieces.push([kind, match[0]]);
    done = match.index + match[0].length;
  }
  if (done < code.length) pieces.push([null, code.slice(done)]);
  return pieces;
}
