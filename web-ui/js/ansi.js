// Colours and weights of a terminal, read from its control sequences. A reader of our own and not a library that makes HTML text: what
// a function prints stays text to the last, no `innerHTML` and no style attribute is needed, and a search can mark parts of it.

const SEQUENCE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|\r\n?/y;
const LONGEST = 256;
const PLAIN = { colour: null, ground: null, weights: "" };
const WEIGHTS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };
// The sixteen colours as terminals mix them, to find the nearest one for a colour that is none of them.
const MIXED = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
];

/** Reads text that comes in pieces. What a piece says of colours holds for the next ones, and a sequence may be cut anywhere. */
export class AnsiReader {
  #look = PLAIN;
  #rest = "";

  /** The piece as runs of one look: {text, look}. `look` are names of CSS classes, "" for plain text. Every line ends with "\n". */
  read(piece) {
    const text = this.#rest + piece;
    const end = wholeUntil(text);
    this.#rest = text.slice(end);
    const runs = [];
    let from = 0;
    for (let at = nextControl(text, 0); at >= 0 && at < end; at = nextControl(text, at)) {
      SEQUENCE.lastIndex = at;
      const found = SEQUENCE.exec(text);
      if (at > from) runs.push({ text: text.slice(from, at), look: classes(this.#look) });
      if (text[at] === "\r") runs.push({ text: "\n", look: "" });
      if (found?.[2] === "m") this.#look = changed(this.#look, found[1]);
      from = at += found ? found[0].length : 1;
    }
    if (end > from) runs.push({ text: text.slice(from, end), look: classes(this.#look) });
    return runs;
  }
}

/** Where a carriage return or a control sequence begins, at or after `from`; -1 when there is none. */
function nextControl(text, from) {
  const escape = text.indexOf("\x1b", from);
  const carriageReturn = text.indexOf("\r", from);
  return escape < 0 || (carriageReturn >= 0 && carriageReturn < escape) ? carriageReturn : escape;
}

/** How much of the text can be read before the next piece is known. */
function wholeUntil(text) {
  if (text.endsWith("\r")) return text.length - 1;
  const last = text.lastIndexOf("\x1b");
  if (last < 0 || text.length - last > LONGEST) return text.length;
  SEQUENCE.lastIndex = last;
  const found = SEQUENCE.exec(text);
  // "]" begins a longer sequence as well as it could be one of two characters.
  const isCut = !found || (text[last + 1] === "]" && found[0].length === 2);
  return isCut ? last : text.length;
}

/** The look after "select graphic rendition" with these parameters. */
function changed(before, parameters) {
  const numbers = parameters.split(/[;:]/).map(Number);
  let { colour, ground } = before;
  let weights = new Set(before.weights.split(" ").filter(Boolean));
  for (let at = 0; at < numbers.length; at += 1) {
    const code = numbers[at];
    if (code === 0) [colour, ground, weights] = [null, null, new Set()];
    else if (code in WEIGHTS) weights.add(WEIGHTS[code]);
    else if (code in ENDS) ENDS[code].forEach((one) => weights.delete(one));
    else if (code >= 30 && code <= 37) colour = code - 30;
    else if (code >= 90 && code <= 97) colour = code - 82;
    else if (code >= 40 && code <= 47) ground = code - 40;
    else if (code >= 100 && code <= 107) ground = code - 92;
    else if (code === 39) colour = null;
    else if (code === 49) ground = null;
    else if (code === 38 || code === 48) {
      const [chosen, used] = extended(numbers.slice(at + 1));
      if (code === 38) colour = chosen;
      else ground = chosen;
      at += used;
    }
  }
  return { colour, ground, weights: [...weights].join(" ") };
}

/** One of the sixteen colours for "5;n" or "2;r;g;b", and how many numbers that were. */
function extended([kind, ...rest]) {
  if (kind === 5) return [ofPalette(rest[0] ?? 0), 2];
  if (kind === 2) return [nearest(rest.slice(0, 3)), 4];
  return [null, 0];
}

function ofPalette(number) {
  if (number < 16) return number;
  if (number >= 232) return nearest(Array(3).fill(8 + (number - 232) * 10));
  const step = (value) => (value === 0 ? 0 : 55 + value * 40);
  const cube = number - 16;
  return nearest([step(Math.floor(cube / 36)), step(Math.floor(cube / 6) % 6), step(cube % 6)]);
}

function nearest(wanted) {
  const distances = MIXED.map((mixed) => mixed.reduce((sum, value, index) => sum + (value - (wanted[index] ?? 0)) ** 2, 0));
  return distances.indexOf(Math.min(...distances));
}

function classes({ colour, ground, weights }) {
  return [colour !== null && `ansi-${colour}`, ground !== null && `ansi-on-${ground}`, ...weights.split(" ").map((one) => one && `ansi-${one}`)].filter(Boolean).join(" ");
}
