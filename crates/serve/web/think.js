// Parts an answer into what the model thought and what it says, for models that think between <think> tags in the text.

const OPEN = /^\s*<(think|thinking|thought|reasoning)>/;

/** `{thought, said, thinking}`: `thinking` while the closing tag has not come. Text without a tag is all said. */
export function part(text, done = true) {
  const open = OPEN.exec(text);
  if (!open) {
    // Some templates put the opening tag into the prompt, so only the closing one is in the answer.
    const end = text.indexOf("</think>");
    if (end >= 0) return { thought: text.slice(0, end).trim(), said: text.slice(end + 8).trimStart(), thinking: false };
    // While only the beginning of a tag has come it is not yet shown.
    const start = text.trimStart();
    const partial = !done && start !== "" && "<thinking>".startsWith(start);
    return { thought: "", said: partial ? "" : text, thinking: false };
  }
  const close = `</${open[1]}>`;
  const end = text.indexOf(close, open[0].length);
  if (end < 0) return { thought: text.slice(open[0].length).trimStart(), said: "", thinking: !done };
  return { thought: text.slice(open[0].length, end).trim(), said: text.slice(end + close.length).trimStart(), thinking: false };
}
