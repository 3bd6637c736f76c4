import { api } from "../api.js";
import { AppElement, define } from "../element.js";
import { words } from "../format.js";
import { html, nothing } from "../vendor.js";

// Trials can come faster than this; all that came meanwhile are read together.
const PACE_MS = 1000;
const TRIAL = /^Trial (\d+): (\w+) (-?[\d.]+(?:e-?\d+)?|nan) with (\{.*\})$/gm;

/**
 * The trials of a search, as the invocation's log tells them: read once, or, while it runs, whenever its `progress` names another
 * trial (null: it has not said anything yet). Nothing is shown as long as there is none.
 */
class TrialList extends AppElement {
  static inputs = ["invocationId", "progress"];
  #trials = [];
  #timer = null;
  #signal = null;

  connected(signal) {
    this.#signal = signal;
    if (this.progress === undefined || isTrial(this.progress)) this.#read();
  }

  disconnected() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  changed(name, _value, before) {
    if (!this.isConnected || before === undefined) return;
    if (name === "invocationId") this.#trials = [];
    if (name === "invocationId" ? this.progress === undefined : isTrial(this.progress)) this.#timer ??= setTimeout(() => this.#read(), PACE_MS);
  }

  async #read() {
    const signal = this.#signal;
    this.#timer = null;
    try {
      this.#trials = trialsIn(await api.log(this.invocationId, signal));
    } catch {
      // The log is not there yet, or not any more. The next progress tries again; without it the trials are in MLflow.
      return;
    }
    if (!signal.aborted) this.update();
  }

  template() {
    if (this.#trials.length === 0) return nothing;
    const [{ measure }] = this.#trials;
    const best = bestOf(this.#trials);
    const names = [...new Set(this.#trials.flatMap(({ parameters }) => Object.keys(parameters)))];
    return html`
      <h3>Trials</h3>
      <div class="table-scroll trials" tabindex="0" role="group" aria-label="Trials"><table class="table table-sm">
        <thead><tr><th scope="col">Trial</th><th scope="col" class="numeral">${words(measure)}</th>${names.map((name) => html`<th scope="col" class="numeral">${words(name)}</th>`)}</tr></thead>
        <tbody>${[...this.#trials].reverse().map((one) => html`<tr aria-current=${one === best ? "true" : "false"}><th scope="row" class="text-nowrap">${one.number}${one === best ? html` <span class="tag">best</span>` : nothing}</th><td class="numeral">${one.score.toFixed(4)}</td>${names.map((name) => html`<td class="numeral">${name in one.parameters ? shown(one.parameters[name]) : ""}</td>`)}</tr>`)}</tbody>
      </table></div>`;
  }
}

function isTrial(progress) {
  return /^trial \d/.test(progress?.message ?? "");
}

/** The one that wins: the first of those with the highest score. One that could not be measured never does. */
function bestOf(trials) {
  return trials.reduce((best, one) => (one.score > (best?.score ?? -Infinity) ? one : best), undefined);
}

function shown(value) {
  if (value === null) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function trialsIn(text) {
  return [...text.matchAll(TRIAL)].map(([, count, measure, score, parameters]) => ({ number: Number(count), measure, score: Number(score), parameters: JSON.parse(parameters) }));
}

define("trial-list", TrialList);
