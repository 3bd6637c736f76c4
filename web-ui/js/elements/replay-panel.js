import { address, api, Problem } from "../api.js";
import { AppElement, define } from "../element.js";
import { duration, isFinal } from "../format.js";
import { poll } from "../poll.js";
import { linkTo } from "../routes.js";
import { html, nothing } from "../vendor.js";
import "./busy-clock.js";
import "./problem-alert.js";
import "./progress-bar.js";
import "./result-view.js";
import "./status-badge.js";

// A request waits this long for the end; after that the record is looked at.
const PATIENCE_SECONDS = 15;
const PACE = 1500;
const STOPPED = 3_600_000;
const AGAINST = { same: "with the image and model of then", today: "as everything is today" };

/** Runs an invocation again with the same input, and shows both results side by side and whether they are the same. */
class ReplayPanel extends AppElement {
  static inputs = ["invocation"];
  #against = null;
  #startedAt = null;
  #replay = null;
  #problem = null;
  #isAsking = false;
  #look = null;
  #signal = null;

  connected(signal) {
    this.#signal = signal;
  }

  changed(_name, value, before) {
    if (before === undefined || value?.invocation_id === before?.invocation_id) return;
    this.#look?.abort();
    this.#against = null;
    this.#replay = null;
    this.#problem = null;
    this.#isAsking = false;
  }

  get #isBusy() {
    return this.#isAsking || (this.#replay !== null && !isFinal(this.#replay.status));
  }

  async #run(against) {
    if (this.#isBusy) return;
    const id = this.invocation.invocation_id;
    this.#against = against;
    this.#startedAt = performance.now();
    this.#replay = null;
    this.#problem = null;
    this.#isAsking = true;
    this.update();
    this.tell("invocation:started");
    try {
      const { replay } = await api.replay(id, against, PATIENCE_SECONDS);
      if (id !== this.invocation.invocation_id) return;
      this.#replay = replay;
      if (!isFinal(replay.status)) this.#follow(replay.invocation_id);
    } catch (error) {
      if (id === this.invocation.invocation_id) this.#problem = error;
    } finally {
      this.#isAsking = false;
      this.update();
      this.tell("invocation:finished");
    }
  }

  #follow(id) {
    this.#look?.abort();
    this.#look = new AbortController();
    const read = async (signal) => {
      this.#replay = await api.invocation(id, signal);
      this.update();
    };
    poll(read, () => (isFinal(this.#replay.status) ? STOPPED : PACE), AbortSignal.any([this.#signal, this.#look.signal]));
  }

  template() {
    return html`<section class="panel" aria-label="Run it again">
      <h2>Run it again</h2>
      <p class="quiet">With the same parameters, as an invocation of its own: as it was then, to see whether the result can be had again; or as it is now, to see what has changed.</p>
      <div class="button-row">
        ${Object.entries({ same: "As it was then", today: "As it is today" }).map(([against, words]) => html`<button type="button" class="btn btn-quiet" aria-disabled=${this.#isBusy} @click=${() => this.#run(against)}>${words}</button>`)}
      </div>
      <div aria-live="polite">${this.#outcome()}</div>
    </section>`;
  }

  #outcome() {
    if (this.#problem) return html`<problem-alert .problem=${this.#problem} .errors=${this.#problem.errors}></problem-alert>`;
    if (this.#isBusy) {
      return html`<p class="replay-words"><span class="spinner" aria-hidden="true"></span> Running ${AGAINST[this.#against]} <busy-clock .since=${this.#startedAt}></busy-clock>${this.#replay ? html` · <a href=${address.invocation(this.#replay.invocation_id)}>Open it</a>` : nothing}</p>${this.#replay ? html`<progress-bar .progress=${this.#replay.progress}></progress-bar>` : nothing}`;
    }
    if (!this.#replay) return nothing;
    const before = this.invocation;
    const after = this.#replay;
    const { words, tone } = verdict(before, after);
    return html`
      <p class="replay-words" data-tone=${tone}><span class="dot" aria-hidden="true"></span> <strong>${words}</strong> <a href=${address.invocation(after.invocation_id)}>Open the new invocation</a> · <a href=${linkTo("compare", undefined, { ids: `${before.invocation_id},${after.invocation_id}` })}>Compare both</a></p>
      <div class="side-by-side">
        <section aria-label="Result of then"><h3>Then</h3>${result(before)}</section>
        <section aria-label="Result of the replay"><h3>Now, ${AGAINST[this.#against]}</h3>${result(after)}</section>
      </div>`;
  }
}

function result(record) {
  const problem = record.status === "succeeded" ? null : Problem.fromRecord(record);
  return html`
    <p><status-badge .status=${record.status}></status-badge> <span class="quiet">${duration(record.timings?.total_ms)}${record.mlflow?.model_version ? `, ${record.mlflow.model_name} version ${record.mlflow.model_version}` : nothing}</span></p>
    ${problem ? html`<problem-alert .problem=${problem} .errors=${problem.errors}></problem-alert>` : html`<result-view .result=${record.result}></result-view>`}`;
}

/** The digests are of the whole results, so equal ones are the same to the last digit. */
function verdict(before, after) {
  if (before.status === "succeeded" && after.status === "succeeded") {
    return before.result_sha256 === after.result_sha256 ? { words: "The same result.", tone: "good" } : { words: "The results differ.", tone: "waiting" };
  }
  if (after.status === "succeeded") return { words: "It succeeds now.", tone: "good" };
  if (before.status === "succeeded") return { words: "It does not succeed any more.", tone: "bad" };
  return before.error?.code === after.error?.code ? { words: "It fails in the same way.", tone: "waiting" } : { words: "It fails in another way.", tone: "waiting" };
}

define("replay-panel", ReplayPanel);
