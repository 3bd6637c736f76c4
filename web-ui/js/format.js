// How values look. Pure functions from values to words; nothing here touches the page.

const LOCALE = "en";
const plain = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 6, useGrouping: false });
const ago = new Intl.RelativeTimeFormat(LOCALE, { numeric: "always", style: "narrow" });
const stamp = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "medium" });

/** 0.4 ms, 12 ms, 1.9 s, 3 min 05 s, and 0 ms only when it is exactly that. */
export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds > 0 && milliseconds < 0.05) return "< 0.1 ms";
  if (milliseconds < 9.95) return `${(Math.round(milliseconds * 10) / 10).toString()} ms`;
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** For a clock that runs: one decimal at first, whole seconds later, so that it does not flicker. */
export function elapsed(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds) % 60).padStart(2, "0")} s`;
}

/** 96.7 %, and 0 % or 100 % only when it is exactly that. */
export function percent(share) {
  if (typeof share !== "number") return "–";
  const value = share * 100;
  if (value === 0 || value === 100) return `${value} %`;
  if (value > 0 && value < 0.1) return value < 0.01 ? "< 0.01 %" : `${value.toFixed(2)} %`;
  return value > 99.95 && value < 100 ? "> 99.9 %" : `${value.toFixed(1)} %`;
}

/** At most six significant digits of a fraction; whole numbers as they are. */
export function number(value) {
  if (typeof value !== "number") return "–";
  if (Number.isInteger(value)) return value.toString();
  return Math.abs(value) < 0.0001 || Math.abs(value) >= 1e6 ? value.toPrecision(6) : plain.format(value);
}

/** 5s ago, 3m ago, 2d ago */
export function relativeTime(iso, now = Date.now()) {
  if (!iso) return "–";
  const seconds = Math.round((Date.parse(iso) - now) / 1000);
  if (seconds > -3) return "now";
  const size = Math.abs(seconds);
  if (size < 60) return ago.format(seconds, "second");
  if (size < 3600) return ago.format(Math.trunc(seconds / 60), "minute");
  if (size < 86_400) return ago.format(Math.trunc(seconds / 3600), "hour");
  return ago.format(Math.trunc(seconds / 86_400), "day");
}

/** 512 B, 4.2 kB, 726 MB, 75.5 GB */
export function bytes(count) {
  if (typeof count !== "number") return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** step;
  return `${step === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}

export function time(iso) {
  return iso ? stamp.format(new Date(iso)) : "–";
}

const STATUSES = {
  queued: { word: "Queued", tone: "waiting" },
  starting: { word: "Starting", tone: "waiting" },
  running: { word: "Running", tone: "active" },
  succeeded: { word: "Succeeded", tone: "good" },
  failed: { word: "Failed", tone: "bad" },
  timed_out: { word: "Timed out", tone: "bad" },
  cancelled: { word: "Cancelled", tone: "quiet" },
  lost: { word: "Lost", tone: "bad" },
};

/** The word and the tone (a colour, in CSS) of an invocation's status. */
export function status(value) {
  return STATUSES[value] ?? { word: String(value), tone: "quiet" };
}

export function isFinal(value) {
  return !["queued", "starting", "running"].includes(value);
}

export function startKind(value) {
  return { cold: "cold start", warm: "warm start", reused: "reused" }[value] ?? "";
}

/** How an invocation came to its container, as a sentence; "" while it has none. */
export function startWords(start, timings) {
  if (start === "warm") return "A container was ready and waiting for this call.";
  if (start === "reused") return "A container that was used before took this call.";
  if (start !== "cold") return "";
  const wasUnderWay = timings?.create_ms === 0;
  return wasUnderWay ? "No container was ready; this call waited for one that was being made." : "No container was ready; one was made for this call.";
}

/** "2 of 2 containers ready, 1 busy": what a function's pool holds right now. */
export function poolWords({ target, ready, starting, busy, waiting }) {
  const kept = target === 0 && ready === 0 ? "" : ready > target ? `${count(ready, "container")} ready` : `${ready} of ${count(target, "container")} ready`;
  const facts = [kept, starting && `${starting} starting`, busy && `${busy} busy`, waiting && `${count(waiting, "call")} waiting`];
  return facts.filter(Boolean).join(", ");
}

/**
 * What can be said of a call that has no answer yet. Its id comes with the answer, so the pool speaks for it: as long as calls wait,
 * this one may be among them; when none waits, it has its container.
 */
export function waitingWords({ ready, starting, busy, waiting }) {
  if (waiting === 0) return busy === 0 ? "Waiting for the answer." : "A container is running this call.";
  const facts = [
    `${count(waiting, "call")} waiting`,
    starting && `${count(starting, "container")} starting`,
    busy && `${count(busy, "container")} busy`,
    ready && `${count(ready, "container")} ready`,
  ];
  return `In the queue: ${facts.filter(Boolean).join(", ")}.`;
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

export function shortId(id) {
  return id && id.length > 13 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id ?? "–";
}

/** n_estimators → N estimators, for headings; the exact name stays where people have to type it. */
export function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

export function prettyJson(value) {
  return JSON.stringify(value, null, 2) ?? "";
}

/** JSON to be edited by people: as pretty as above, but each list of plain values on one line, so that rows stay rows. */
export function editableJson(value, indent = "") {
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((one) => one === null || typeof one !== "object")) return `[${value.map((one) => JSON.stringify(one)).join(", ")}]`;
    return `[\n${value.map((one) => deeper + editableJson(one, deeper)).join(",\n")}\n${indent}]`;
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  if (entries.length === 0) return "{}";
  return `{\n${entries.map(([name, one]) => `${deeper}${JSON.stringify(name)}: ${editableJson(one, deeper)}`).join(",\n")}\n${indent}}`;
}

/** Log text without terminal control sequences and with each carriage return as a line end. */
export function logText(text) {
  return text.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g, "").replace(/\r\n?/g, "\n");
}

/** The end of a text, at most so many lines. */
export function lastLines(text, most) {
  let at = text.endsWith("\n") ? text.length - 1 : text.length;
  for (let left = most; left > 0; left -= 1) {
    at = text.lastIndexOf("\n", at - 1);
    if (at < 0) return text;
  }
  return text.slice(at + 1);
}

/** "3 of 8", or "3" when the total is not known. */
export function progressWords({ done, total }) {
  return total === null ? number(done) : `${number(done)} of ${number(total)}`;
}

/** "/features/0/2" → "item 1, item 3"; the first part, the parameter's own name, is left out. */
export function place(pointer) {
  return pointer
    .split("/")
    .slice(2)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((part) => (/^\d+$/.test(part) ? `item ${Number(part) + 1}` : part))
    .join(", ");
}
