// Tables as text: reading what people paste or drop, and writing what they take along. Pure.

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const DECIMAL_COMMA = /^[-+]?(\d+,\d*|,\d+)(e[-+]?\d+)?$/i;

/**
 * A text as a table of numbers: {rows, names, separator}. `names` is the first line, when it has no number in it, or null. The
 * separator is a tab, a semicolon or a comma; with one of the first two, a comma within a number is a decimal comma.
 * {error, names} says where something else than a number stands.
 */
export function readNumbers(text) {
  const separator = separatorOf(text);
  const lines = readCells(text, separator);
  const takesComma = separator !== ",";
  const isNumber = (cell) => NUMBER.test(cell) || (takesComma && DECIMAL_COMMA.test(cell));
  const [first] = lines;
  const names = lines.length > 1 && first.cells.every((cell) => cell !== "" && !isNumber(cell)) ? first.cells : null;
  const rows = [];
  for (const { cells, line } of names ? lines.slice(1) : lines) {
    const wrong = cells.findIndex((cell) => !isNumber(cell));
    if (wrong >= 0) return { names, error: `line ${line}, column ${wrong + 1}: ${cells[wrong] === "" ? "a number is missing" : `"${cells[wrong]}" is not a number`}` };
    if (names && cells.length !== names.length) return { names, error: `line ${line} has ${cells.length} values, but the first line names ${names.length} columns` };
    rows.push(cells.map((cell) => Number(takesComma ? cell.replace(",", ".") : cell)));
  }
  return { rows, names, separator };
}

/** Rows of cells as CSV, for spreadsheets: what they would take for a formula is marked as text. */
export function writeCsv(rows) {
  return rows.map((row) => row.map(cellText).join(",")).join("\r\n") + "\r\n";
}

function separatorOf(text) {
  return ["\t", ";"].find((one) => text.includes(one)) ?? ",";
}

/** The lines that are not empty, each {cells, line}. A cell in double quotes may have the separator in it, and "" for one quote. */
function readCells(text, separator) {
  const lines = [];
  text.split(/\r\n|\r|\n/).forEach((source, index) => {
    if (source.trim() === "") return;
    const cells = [];
    let at = 0;
    while (at <= source.length) {
      const quoted = /^\s*"((?:[^"]|"")*)"\s*/.exec(source.slice(at));
      const end = source.indexOf(separator, at + (quoted?.[0].length ?? 0));
      const stop = end < 0 ? source.length : end;
      cells.push(quoted ? quoted[1].replaceAll('""', '"').trim() : source.slice(at, stop).trim());
      at = stop + 1;
    }
    // "1, 2," is two values: a separator at the end separates nothing.
    if (cells.length > 1 && cells.at(-1) === "") cells.pop();
    lines.push({ cells, line: index + 1 });
  });
  return lines;
}

function cellText(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) && !NUMBER.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
