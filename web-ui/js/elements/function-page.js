import { address, api, Problem } from "../api.js";
import { AppElement, define } from "../element.js";
import { duration, isFinal, percent, status, waitingWords } from "../format.js";
import { icons } from "../icons.js";
import { poll } from "../poll.js";
import { html, nothing } from "../vendor.js";
import "./busy-clock.js";
import "./diagnosis-view.js";
import "./function-calls.js";
import "./function-form.js";
import "./function-image.js";
import "./function-schedules.js";
import "./function-state.js";
import "./invocation-result.js";
import "./log-pane.js";
import "./pool-state.js";
import "./problem-alert.js";
import "./progress-bar.js";
import "./trial-list.js";

// A container that was ready answers sooner than this: then nothing flashes, and the new result takes the old one's place.
const BUSY_SHOWN_AFTER_MS = 200;
const POOL_PACE_MS = 700;
// Until then nothing is said but the answer; then the call has a record that can be followed, and cancelled. `wait` alone leaves it
// what a person expects of a button: handed over at most once.
const IN_FRONT = "wait=1";
const IN_BACKGROUND = "respond-async";
// The log is followed live and tells when there is something to read; this is for the case that it cannot be.
const RECORD_PACE_MS = 3000;

const UNDER_WAY = { queued: "In the queue", starting: "Its container is starting", running: "Running" };

/** One function: what it is, its form, and beside it the result of the last call made from here. */
class FunctionPage extends AppElement {
  static inputs = ["function", "isShown"];
  // One of: {kind: "idle"}, {kind: "busy", since, parameters, before, isLong, isBackground, record?, isCancelling?, problem?},
  // {kind: "done", invocation, parameters}, {kind: "failed", problem, invocation?}.
  #state = { kind: "idle" };
  #announcement = "";
  #waiting = null;
  // Reads the record of the call under way; null while it has none.
  #look = null;
  // The function as it is right now, asked for while a call waits; else the catalog's word is good enough.
  #now = null;

  connected(signal) {
    document.addEventListener("runner:back", () => this.#look?.(), { signal });
  }

  disconnected() {
    this.#waiting?.abort();
  }

  changed(name) {
    if (name === "function" && this.#state.kind !== "busy") this.#now = null;
  }

  async #run({ parameters, isBackground }) {
    const { kind, isBackground: isBehind, record, before } = this.#state;
    // What runs in the background is let go of, once it is on record.
    if (kind === "busy" && !(isBehind && record)) return;
    this.#waiting?.abort();
    const current = (this.#waiting = new AbortController());
    const settled = new AbortController();
    this.#look = null;
    this.#now = null;
    this.#show({ kind: "busy", since: performance.now(), parameters, before: kind === "busy" ? before : this.#state, isLong: false, isBackground }, `${this.function.name} is ${isBackground ? "sent" : "running"}.`);
    const patience = setTimeout(() => this.#becomeLong(AbortSignal.any([settled.signal, current.signal])), BUSY_SHOWN_AFTER_MS);
    this.tell("invocation:started");
    try {
      const answer = await api.invoke(this.function.name, parameters, isBackground ? IN_BACKGROUND : IN_FRONT, current.signal);
      if (isFinal(answer.status)) this.#end(answer);
      else this.#follow(answer, current.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.isConnectionTrouble) this.tell("runner:unreachable");
      this.#show({ kind: "failed", problem: error }, `${this.function.name} failed. ${error.message}`);
      this.#completeFacts(error, current.signal);
      this.tell("invocation:finished");
    } finally {
      clearTimeout(patience);
      settled.abort();
    }
  }

  /** The call takes a while: show so, and what its pool is doing meanwhile. */
  #becomeLong(signal) {
    const panel = this.querySelector(".result-panel");
    // What stands below the panel stays where it is, until the new result says how much room it needs.
    if (panel) panel.style.minHeight = `${panel.offsetHeight}px`;
    this.#show({ ...this.#state, isLong: true });
    const look = async (attempt) => {
      this.#now = await api.function(this.function.name, attempt);
      this.update();
    };
    poll(look, () => POOL_PACE_MS, signal);
  }

  /** The call has a record: look at it until it has ended, and at the pool as long as it waits. */
  #follow(record, signal) {
    const over = new AbortController();
    const isWaiting = () => ["queued", "starting"].includes(this.#state.record?.status);
    this.#show({ ...this.#state, isLong: true, record }, record.mode === "async" ? `${this.function.name} runs in the background.` : this.#announcement);
    const look = async (attempt) => {
      try {
        const [seen, now] = await Promise.all([api.invocation(record.invocation_id, attempt), isWaiting() ? api.function(this.function.name, attempt) : this.#now]);
        if (attempt.aborted) return;
        this.#now = now;
        this.#seen(seen, over);
      } catch (error) {
        if (!attempt.aborted && error.isConnectionTrouble) this.tell("runner:unreachable");
        throw error;
      }
    };
    this.#look = poll(look, () => (isWaiting() ? POOL_PACE_MS : RECORD_PACE_MS), AbortSignal.any([signal, over.signal]));
  }

  #seen(record, over) {
    if (!isFinal(record.status)) return this.#show({ ...this.#state, record });
    this.#end(record);
    over?.abort();
  }

  /** The call has ended: `answer` is what POST /invoke said, or the record. */
  #end(answer) {
    const { parameters } = this.#state;
    this.#look = null;
    this.#now = null;
    if (answer.status === "succeeded") {
      this.#show({ kind: "done", invocation: answer, parameters }, successWords(answer));
    } else {
      const problem = Problem.fromRecord(answer);
      this.#show({ kind: "failed", problem, invocation: answer }, `${this.function.name} ${status(answer.status).word.toLowerCase()}. ${problem.message}`);
    }
    this.tell("invocation:finished");
  }

  async #cancel() {
    const { record, isCancelling } = this.#state;
    if (!record || isCancelling) return;
    const current = this.#waiting;
    this.#show({ ...this.#state, isCancelling: true, problem: null });
    try {
      const ended = await api.cancel(record.invocation_id);
      if (current !== this.#waiting || this.#state.kind !== "busy") return;
      this.#seen(ended, current);
    } catch (error) {
      if (current !== this.#waiting || this.#state.kind !== "busy") return;
      // It may have ended by itself a moment before; then there is nothing to complain about.
      this.#show({ ...this.#state, isCancelling: false, problem: error.code === "already_ended" ? null : error });
      this.#look?.();
    }
    // The button that was pressed may be gone.
    if (this.isShown) requestAnimationFrame(() => document.activeElement === document.body && this.querySelector("button[type=submit]")?.focus());
  }

  /** A problem names its invocation only; the timings are in the record. */
  async #completeFacts(problem, signal) {
    if (!problem.invocationId) return;
    try {
      const invocation = await api.invocation(problem.invocationId, signal);
      if (this.#state.problem === problem) this.#show({ ...this.#state, invocation });
    } catch {
      // Without the record the facts are fewer, not wrong.
    }
  }

  #show(state, announcement = this.#announcement) {
    const isNew = state.kind !== this.#state.kind || state.isLong !== this.#state.isLong;
    const isBusy = state.kind === "busy";
    this.#state = state;
    this.#announcement = announcement;
    this.update();
    if (isNew && (state.isLong || !isBusy) && !this.#hasErrorAtField()) requestAnimationFrame(() => this.#reveal());
    if (!isBusy) requestAnimationFrame(() => this.querySelector(".result-panel")?.style.removeProperty("min-height"));
  }

  #hasErrorAtField({ kind, problem } = this.#state) {
    return kind === "failed" && Boolean(problem.errors.length) && this.#unplaced(problem).length < problem.errors.length;
  }

  /** On a narrow screen the result stands below the form: bring it into view. */
  #reveal() {
    const panel = this.querySelector(".result-panel");
    if (!panel || this.hidden) return;
    const { top } = panel.getBoundingClientRect();
    const isBelow = top > window.innerHeight * 0.7;
    if (isBelow) panel.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  #unplaced(problem) {
    return this.querySelector("function-form")?.unplacedErrors(problem) ?? problem.errors;
  }

  template() {
    if (!this.function) return nothing;
    const one = this.#now ?? this.function;
    const isInFront = this.#state.kind === "busy" && !this.#state.isBackground;
    return html`
      <header class="page-header">
        <h1 tabindex="-1">${one.name}</h1>
        <function-state .function=${one}></function-state>
        <p>${one.description}</p>
        ${this.#hasPool(one) ? html`<pool-state .pool=${one.pool}></pool-state>` : nothing}
      </header>
      ${this.#trouble(one)}
      ${one.state === "invalid" ? nothing : html`
        <div class="work">
          <section class="panel" aria-label="Parameters">
            <function-form .function=${one} .busySince=${isInFront ? this.#state.since : undefined} .isLong=${isInFront && this.#state.isLong} .problem=${this.#state.kind === "failed" ? this.#state.problem : undefined}
              .isCancellable=${Boolean(this.#state.record) && !this.#state.isCancelling} @form:run=${(event) => this.#run(event.detail)} @form:cancel=${() => this.#cancel()}></function-form>
          </section>
          <section class="panel result-panel" aria-label="Result">
            <h2>Result</h2>
            ${this.#result(one, this.#state)}
          </section>
        </div>
        ${one.schedules?.length ? html`<function-schedules .schedules=${one.schedules}></function-schedules>` : nothing}
        <div class="work even">
          <function-calls .name=${one.name} .isShown=${this.isShown}></function-calls>
          <function-image .function=${one}></function-image>
        </div>`}
      <p class="visually-hidden" role="status">${this.#announcement}</p>`;
  }

  #trouble(one) {
    if (one.state === "invalid") {
      return html`<div class="problem" role="group" aria-label="Problem">
        <h2>This function cannot be used yet</h2>
        <p class="wrap">${one.problem}</p>
        <p class="quiet">Correct it in <code>functions/${one.name}/</code>; this page notices by itself.</p>
      </div>`;
    }
    if (one.state === "build_failed") {
      return html`<div class="problem" role="group" aria-label="Problem">
        <h2>The image could not be built</h2>
        ${one.diagnosis ? html`<diagnosis-view .diagnosis=${one.diagnosis} .detail=${one.problem}></diagnosis-view>` : html`<p class="wrap">${one.problem}</p>`}
        <p><a href=${address.buildLog(one.name)} target="_blank" rel="noopener">Read the build log</a>. The next call tries again.</p>
      </div>`;
    }
    return nothing;
  }

  /** A function whose image is missing says so already, and one that cannot be used has no containers. */
  #hasPool({ state, pool }) {
    return state !== "invalid" && !(state === "build_failed" && pool.state === "broken");
  }

  #result(one, state) {
    const { kind, invocation, problem, parameters } = state;
    if (kind === "busy" && !state.isLong) return this.#result(one, state.before);
    if (kind === "busy") return this.#underWay(one, state);
    if (kind === "failed" && this.#hasErrorAtField(state) && !problem.invocationId) {
      return html`<div class="empty" data-tone="bad">${icons.broken}<p class="lead">${problem.title}</p><p class="quiet">See the marked ${problem.errors.length > 1 ? "fields" : "field"}; nothing was run. <code>${problem.code}</code></p>
        <div>${this.#unplaced(problem).map(({ pointer, detail }) => html`<p><code>${pointer}</code> ${detail}</p>`)}</div></div>`;
    }
    if (kind === "done" || kind === "failed") {
      return html`<invocation-result .invocation=${invocation} .parameters=${parameters} .problem=${problem} .errors=${problem ? this.#unplaced(problem) : undefined}></invocation-result>`;
    }
    return html`<div class="empty">${icons.play}<p class="lead">Nothing has run here yet.</p><p class="quiet">Choose the parameters and run ${one.name}; the result appears in this place.</p></div>`;
  }

  #underWay(one, { since, record, isBackground, isCancelling, problem }) {
    const place = record?.queue_position ? `, place ${record.queue_position}` : "";
    return html`
      <div class="empty under-way">
        <span class="spinner large" aria-hidden="true"></span>
        <p class="lead">${isCancelling ? "Cancelling" : record ? `${UNDER_WAY[record.status] ?? record.status}${place}` : nothing} <busy-clock .since=${since}></busy-clock></p>
        <progress-bar .progress=${record?.progress}></progress-bar>
        <p class="quiet">${this.#waitingWords(one, record)}</p>
        ${isBackground && record ? html`<p class="quiet">It runs in the background: <a href=${address.invocation(record.invocation_id)}>its own page</a> follows it too, and other calls can be made here meanwhile.</p>
          <button type="button" class="btn btn-quiet" aria-disabled=${isCancelling ? "true" : "false"} @click=${() => this.#cancel()}>Cancel</button>` : nothing}
      </div>
      ${problem ? html`<problem-alert .problem=${problem}></problem-alert>` : nothing}
      ${record ? html`<trial-list .invocationId=${record.invocation_id} .progress=${record.progress ?? null}></trial-list>` : nothing}
      ${record && this.isShown
        ? html`<log-pane .invocationId=${record.invocation_id} .status=${record.status} .container=${record.container_name}
            @invocation:moved=${() => this.#look?.()} @invocation:progress=${(event) => this.#progressed(event.detail)}></log-pane>`
        : nothing}`;
  }

  #progressed(progress) {
    if (this.#state.kind === "busy") this.#show({ ...this.#state, record: { ...this.#state.record, progress } });
  }

  #waitingWords(one, record) {
    if (record?.status === "running") return "The result appears here when it is there.";
    return ["not_built", "building"].includes(one.state) ? "The image is built first; that can take a minute or two, once." : waitingWords(one.pool);
  }
}

function successWords({ function: name, result, timings }) {
  const facts = [];
  if (typeof result?.accuracy === "number") facts.push(`Accuracy ${percent(result.accuracy)}.`);
  if (typeof result?.prediction === "string") facts.push(`Prediction ${result.prediction}.`);
  return `${name} succeeded${timings ? ` in ${duration(timings.total_ms)}` : ""}. ${facts.join(" ")}`;
}

define("function-page", FunctionPage);
