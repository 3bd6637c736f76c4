import { address, api, Problem } from "../api.js";
import { define } from "../element.js";
import { isFinal, shortId, time } from "../format.js";
import { icons } from "../icons.js";
import { loading } from "../parts.js";
import { html, nothing } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./busy-clock.js";
import "./call-snippets.js";
import "./invocation-facts.js";
import "./invocation-origin.js";
import "./invocation-states.js";
import "./log-pane.js";
import "./problem-alert.js";
import "./progress-bar.js";
import "./question-dialog.js";
import "./raw-json.js";
import "./replay-panel.js";
import "./result-view.js";
import "./status-badge.js";
import "./trial-list.js";

const STOPPED = 3_600_000;
// The log is followed live and tells when there is something to read; this is for the case that it cannot be.
const UNSETTLED_PACE = 4000;
const UNDER_WAY = { queued: "In the queue", starting: "Its container is starting", running: "Running" };

/** One invocation from its record: how it ended, what went in and out, how long it took, and what it printed. */
class InvocationPage extends WatchingElement {
  static inputs = ["invocationId"];
  #record = null;
  #since = null;
  #question = null;

  connected(signal) {
    this.watch(() => (this.#isSettled() ? STOPPED : UNSETTLED_PACE), signal);
  }

  changed(name, _value, before) {
    if (before === undefined) return;
    this.#record = null;
    this.problem = null;
    this.#since = null;
    this.#question = null;
    this.look();
  }

  async read(signal) {
    this.#record = await api.invocation(this.invocationId, signal);
  }

  mayPass({ status }) {
    return status !== 404;
  }

  #isSettled() {
    return this.problem?.status === 404 || isFinal(this.#record?.status);
  }

  #askToCancel({ invocation_id: id, function: name, status }) {
    this.#question = {
      title: "Cancel this invocation?",
      detail: status === "queued" ? `It waits, and will not be started. Whoever waits for the result of ${name} is told.` : `Its container is stopped, and what ${name} has done so far stays as it is. Whoever waits for its result is told.`,
      word: "Cancel it",
      keep: "Let it run",
      act: async () => {
        try {
          this.#record = await api.cancel(id);
        } finally {
          this.look();
        }
        this.tell("invocation:finished");
      },
    };
    this.update();
  }

  template() {
    const record = this.#record;
    return html`
      <header class="page-header">
        <h1 tabindex="-1">${record ? `${record.function} invocation` : "Invocation"}</h1>
        ${record ? html`<status-badge .status=${record.status}></status-badge>` : nothing}
        ${record && !isFinal(record.status) ? html`<button type="button" class="btn btn-quiet head-button" @click=${() => this.#askToCancel(record)}>Cancel</button>` : nothing}
        <p>${record ? this.#introduction(record) : html`<span class="mono wrap">${this.invocationId}</span>`}</p>
      </header>
      ${record ? this.#details(record) : this.#instead()}
      <question-dialog .question=${this.#question} @question:closed=${() => this.#answered()}></question-dialog>`;
  }

  #answered() {
    this.#question = null;
    this.update();
  }

  #introduction(record) {
    return html`<time datetime=${record.created_at}>${time(record.created_at)}</time>${record.replay_of ? html` · a replay of <a class="mono" href=${address.invocation(record.replay_of)}>${shortId(record.replay_of)}</a>` : nothing} · <a href=${address.function(record.function)}>Back to ${record.function}</a>${this.problem ? html` · <span class="note" data-tone="waiting">not up to date</span>` : nothing}`;
  }

  #instead() {
    if (this.problem?.status === 404) return html`<div class="panel"><div class="empty">${icons.list}<p class="lead">There is no such invocation.</p><p class="quiet">It may have been removed after its time, or the address is not complete.</p></div></div>`;
    if (this.problem) return html`<div class="panel"><problem-alert .problem=${this.problem}></problem-alert><p class="quiet">Trying again by itself.</p></div>`;
    return html`<div class="panel" aria-busy="true">${loading(2)}</div>`;
  }

  #details(record) {
    return html`
      <div class="work even">
        <section class="panel" aria-label="Result">
          <h2>${isFinal(record.status) && record.status !== "succeeded" ? "Problem" : "Result"}</h2>
          ${this.#outcome(record)}
        </section>
        <section class="panel" aria-label="Input">
          <h2>Parameters</h2>
          <pre class="parameters" tabindex="0" role="region" aria-label="Parameters" .textContent=${JSON.stringify(record.parameters ?? {}, null, 2)}></pre>
          <call-snippets .name=${record.function} .parameters=${record.parameters ?? {}} .wasInBackground=${record.mode === "async"}></call-snippets>
        </section>
      </div>
      <div class="work even">
        <section class="panel" aria-label="Facts">
          <h2>Where the time went</h2>
          <invocation-facts .invocation=${record} .isPage=${true}></invocation-facts>
          <invocation-states .events=${record.events} .since=${record.created_at}></invocation-states>
        </section>
        <section class="panel" aria-label="Origin">
          <h2>What it ran with</h2>
          <invocation-origin .invocation=${record}></invocation-origin>
          <raw-json .value=${record} .heading=${"Whole record as JSON"}></raw-json>
        </section>
      </div>
      <log-pane class="panel" .invocationId=${record.invocation_id} .status=${record.status} .container=${record.container_name}
        @invocation:moved=${() => this.look()} @invocation:progress=${(event) => this.#progressed(event.detail)}></log-pane>
      ${isFinal(record.status) ? html`<replay-panel .invocation=${record}></replay-panel>` : nothing}`;
  }

  #progressed(progress) {
    if (this.#record) this.#record = { ...this.#record, progress };
    this.update();
  }

  /** On the clock of this page; kept, because it is not to wander while it is shown. */
  #receivedAt({ created_at }) {
    return (this.#since ??= performance.now() - Math.max(0, Date.now() - Date.parse(created_at)));
  }

  #outcome(record) {
    if (!isFinal(record.status)) {
      return html`<div class="empty">
        <span class="spinner large" aria-hidden="true"></span>
        <p class="lead">${UNDER_WAY[record.status]}${record.queue_position ? `, place ${record.queue_position}` : nothing}</p>
        <p><busy-clock .since=${this.#receivedAt(record)}></busy-clock></p>
        <progress-bar .progress=${record.progress}></progress-bar>
        <p class="quiet">The result appears here when it is there.</p>
      </div>
      <trial-list .invocationId=${record.invocation_id} .progress=${record.progress ?? null}></trial-list>`;
    }
    if (record.status !== "succeeded") {
      const problem = Problem.fromRecord(record);
      return html`<problem-alert .problem=${problem} .errors=${problem.errors}></problem-alert>`;
    }
    const isSearch = Number.isInteger(record.result?.n_trials);
    return html`<result-view .result=${record.result} .parameters=${record.parameters}></result-view>${isSearch ? html`<trial-list .invocationId=${record.invocation_id}></trial-list>` : nothing}`;
  }
}

define("invocation-page", InvocationPage);
