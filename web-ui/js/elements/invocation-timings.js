import { AppElement, define } from "../element.js";
import { duration, startWords } from "../format.js";
import { html, nothing, svg } from "../vendor.js";

// In the order in which they happen, and what each of them is: waiting, making a container, the function's own work, ours.
const PHASES = [
  ["queue_ms", "Waiting in the queue", "waiting"],
  ["build_ms", "Building the image", "making"],
  ["create_ms", "Making the container", "making"],
  ["start_ms", "Starting the process", "making"],
  ["init_ms", "Loading the function", "making"],
  ["record_ms", "Writing the record", "keeping"],
  ["run_ms", "Running", "running"],
  ["result_ms", "Handling the result", "keeping"],
];
// What a call needs around its phases, such as its record; less than this is not worth a line.
const LEAST_REST_MS = 0.05;
const NARROWEST = 1.5;

/** How an invocation came to its container, and where its time went: a waterfall that is a table, so its numbers can be read as such. */
class InvocationTimings extends AppElement {
  static inputs = ["start", "timings"];

  template() {
    const timings = this.timings ?? {};
    const lines = linesOf(timings);
    if (lines.length === 0) return nothing;
    const words = startWords(this.start, timings);
    return html`
      ${words ? html`<p class="start-words">${words}</p>` : nothing}
      <table class="timings">
        <caption class="visually-hidden">Where the time went</caption>
        <thead class="visually-hidden"><tr><th scope="col">Phase</th><th scope="col">Time</th></tr></thead>
        <tbody>${placed(lines).map(line)}</tbody>
        ${typeof timings.total_ms === "number" ? html`<tfoot><tr><th scope="row">Total</th><td><span class="numeral">${duration(timings.total_ms)}</span></td></tr></tfoot>` : nothing}
      </table>`;
  }
}

function line({ label, value, kind, at, width }) {
  // SVG attributes, because the content policy forbids style attributes.
  return html`<tr>
    <th scope="row">${label}</th>
    <td><svg class="timing-bar" data-kind=${kind} height="10" aria-hidden="true">${svg`<rect x=${`${at}%`} width=${`${width}%`} height="10" rx="2"></rect>`}</svg><span class="numeral">${duration(value)}</span></td>
  </tr>`;
}

/** The phases that took time, and what is left of the total. */
function linesOf(timings) {
  const lines = PHASES.map(([name, label, kind]) => ({ label, kind, value: timings[name] })).filter(({ value }) => value > 0);
  const rest = (timings.total_ms ?? 0) - sumOf(lines);
  return rest >= LEAST_REST_MS ? [...lines, { label: "Everything else", kind: "keeping", value: rest }] : lines;
}

/** Each bar begins where the one before ends; the shortest is still to be seen, and none leaves the picture. */
function placed(lines) {
  const sum = sumOf(lines);
  let before = 0;
  return lines.map((one) => {
    const width = Math.max((one.value / sum) * 100, NARROWEST);
    const at = Math.min((before / sum) * 100, 100 - width);
    before += one.value;
    return { ...one, at, width };
  });
}

function sumOf(lines) {
  return lines.reduce((sum, { value }) => sum + value, 0);
}

define("invocation-timings", InvocationTimings);
