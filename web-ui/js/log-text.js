// The text of a log as lines, in blocks that are drawn and dropped as a whole: so tens of thousands of lines cost little.

import { AnsiReader } from "./ansi.js";

export const BLOCK = 100;

/** The last lines of a text that grows. */
export class LogText {
  #reader = new AnsiReader();
  #most;
  #isOpen = false;
  #next = 0;
  /** Of {number, lines}; a line is {text, runs}. A block that changed has another array of lines. */
  blocks = [];

  constructor(most) {
    this.#most = most;
  }

  get count() {
    return this.blocks.reduce((sum, { lines }) => sum + lines.length, 0);
  }

  /** Whether lines were dropped, or could have been before they came here. */
  get isCut() {
    return this.count >= this.#most;
  }

  append(piece) {
    const changed = new Set();
    for (const { text, look } of this.#reader.read(piece)) {
      const parts = text.split("\n");
      parts.forEach((part, index) => {
        const isEnded = index < parts.length - 1;
        if (part !== "" || isEnded) {
          const block = this.#isOpen ? this.blocks.at(-1) : this.#begin();
          const line = block.lines.at(-1);
          line.text += part;
          if (part !== "") line.runs.push({ text: part, look });
          changed.add(block);
          this.#isOpen = !isEnded;
        }
      });
    }
    changed.forEach((block) => (block.lines = [...block.lines]));
    while (this.count - BLOCK >= this.#most) this.blocks.shift();
  }

  /** Without colours, as it is copied. */
  toString() {
    return this.blocks.flatMap(({ lines }) => lines.map(({ text }) => `${text}\n`)).join("");
  }

  #begin() {
    const last = this.blocks.at(-1);
    const line = { text: "", runs: [] };
    if (last && last.lines.length < BLOCK) {
      last.lines.push(line);
      return last;
    }
    const block = { number: (this.#next += 1), lines: [line] };
    this.blocks.push(block);
    return block;
  }
}

/** Where `needle` stands in the text; large and small letters are the same. */
export function occurrences(text, needle) {
  if (needle === "") return [];
  const small = text.toLowerCase();
  // A few letters are longer as small ones; then places would not fit.
  const [where, what] = small.length === text.length ? [small, needle.toLowerCase()] : [text, needle];
  const found = [];
  for (let at = where.indexOf(what); at >= 0; at = where.indexOf(what, at + what.length)) found.push(at);
  return found;
}
