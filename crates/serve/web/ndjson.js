// Reads a stream of JSON values, one a line, from pieces of bytes that may end anywhere, even inside a character.

const LONGEST = 16 * 1024 * 1024; // characters of one line: beyond, the other side is not speaking this protocol

/** Cuts pieces of bytes into lines and parses them. */
export class Lines {
  constructor() {
    this.decoder = new TextDecoder("utf-8");
    this.rest = "";
  }
  /** Takes a piece; gives the values of the lines that it completes. */
  push(bytes) {
    return this.#take(this.decoder.decode(bytes, { stream: true }), false);
  }
  /** The stream has ended: gives the value of a last line without a newline. */
  end() {
    return this.#take(this.decoder.decode(), true);
  }
  #take(text, last) {
    const lines = (this.rest + text).split("\n");
    this.rest = last ? "" : lines.pop();
    if (this.rest.length > LONGEST) throw new SyntaxError("a line of the answer is too long");
    return lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
  }
}

/** The values of a body (a ReadableStream of bytes), one by one. */
export async function* values(body) {
  const lines = new Lines();
  const reader = body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      yield* done ? lines.end() : lines.push(value);
      if (done) return;
    }
  } finally {
    // Reached also when the caller stops early: tells the server that nobody listens any more.
    reader.cancel().catch(() => {});
  }
}
