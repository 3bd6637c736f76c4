import { address, api } from "../api.js";
import { AppElement, define } from "../element.js";
import { duration, percent, waitingWords } from "../format.js";
import { icons } from "../icons.js";
import { poll } from "../poll.js";
import { html, nothing } from "../vendor.js";
import "./busy-clock.js";
import "./diagnosis-view.js";
import "./function-form.js";
import "./invocation-result.js";
import "./pool-state.js";

// A container that was ready answers sooner than this: then nothing flashes, and the new result takes the old one's place.
const BUSY_SHOWN_AFTER_MS = 200;
const POOL_PACE_MS = 700;

const STATES = {
  ready: { word: "Ready", tone: "good" },
  not_built: { word: "Built at the first call", tone: "quiet" },
  building: { word: "Building", tone: "waiting" },
  build_failed: { word: "Build failed", tone: "bad" },
  invalid: { word: "Cannot be used", tone: "bad" },
};
const BROKEN = { word: "Does not start", tone: "bad" };

/** One function: what it is, its form, and beside it the result of the last call made from here. */
class FunctionPage extends AppElement {
  static inputs = ["function"];
  // One of: {kind: "idle"}, {kind: "busy", since, before, isLong}, {kind: "done", invocation}, {kind: "failed", problem, invocation?}, {kind: "stopped"}.
  #state = { kind: "idle" };
  #announcement = "";
  #waiting = null;
  // The function as it is right now, asked for while a call takes long; else the catalog's word is good enough.
  #now = null;

  disconnected() {
    this.#waiting?.abort();
  }

  changed(name) {
    if (name === "function" && this.#state.kind !== "busy") this.#now = null;
  }

  async #run({ parameters }) {
    if (this.#state.kind === "busy") return;
    const current = (this.#waiting = new AbortController());
    const settled = new AbortController();
    this.#show({ kind: "busy", since: performance.now(), before: this.#state, isLong: false }, `${this.function.name} is running.`);
    const patience = setTimeout(() => this.#becomeLong(AbortSignal.any([settled.signal, current.signal])), BUSY_SHOWN_AFTER_MS);
    this.tell("invocation:started");
    try {
      const invocation = await api.invoke(this.function.name, parameters, current.signal);
      this.#show({ kind: "done", invocation }, successWords(invocation));
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.isConnectionTrouble) this.tell("runner:unreachable");
      this.#show({ kind: "failed", problem: error }, `${this.function.name} failed. ${error.message}`);
      this.#completeFacts(error, current.signal);
    } finally {
      clearTimeout(patience);
      settled.abort();
      if (current === this.#waiting) this.tell("invocation:finished");
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

  #stop() {
    this.#waiting?.abort();
    this.#show({ kind: "stopped" }, "Stopped waiting.");
    this.querySelector("button[type=submit]")?.focus();
    this.tell("invocation:finished");
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

  #hasErrorAtField({ problem } = this.#state) {
    return Boolean(problem?.errors.length) && this.#unplaced(problem).length < problem.errors.length;
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
    const isBroken = one.state === "ready" && one.pool.state === "broken";
    const state = isBroken ? BROKEN : STATES[one.state] ?? { word: one.state, tone: "quiet" };
    return html`
      <header class="page-header">
        <h1 tabindex="-1">${one.name}</h1>
        <span class="status" data-tone=${state.tone}><span class="dot" aria-hidden="true"></span>${state.word}</span>
        <p>${one.description}</p>
        ${this.#hasPool(one) ? html`<pool-state .pool=${one.pool}></pool-state>` : nothing}
      </header>
      ${this.#trouble(one)}
      ${one.state === "invalid" ? nothing : html`
        <div class="work">
          <section class="panel" aria-label="Parameters">
            <h2>Parameters</h2>
            <function-form .function=${one} .busySince=${this.#state.since} .isLong=${this.#state.isLong} .problem=${this.#state.problem}
              @form:run=${(event) => this.#run(event.detail)} @form:stop=${() => this.#stop()}></function-form>
          </section>
          <section class="panel result-panel" aria-label="Result">
            <h2>Result</h2>
            ${this.#result(one, this.#state)}
          </section>
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
    const { kind, since, invocation, problem } = state;
    if (kind === "busy" && !state.isLong) return this.#result(one, state.before);
    if (kind === "busy") {
      return html`<div class="empty">
        <span class="spinner large" aria-hidden="true"></span>
        <p class="lead"><busy-clock .since=${since}></busy-clock></p>
        <p class="quiet">${["not_built", "building"].includes(one.state) ? "The image is built first; that can take a minute or two, once." : waitingWords(one.pool)}</p>
      </div>`;
    }
    if (kind === "stopped") {
      return html`<div class="empty">${icons.play}<p class="lead">You stopped waiting.</p><p class="quiet">The call itself goes on. It is among the recent invocations, and its result will be there.</p></div>`;
    }
    if (kind === "failed" && this.#hasErrorAtField(state) && !problem.invocationId) {
      return html`<div class="empty" data-tone="bad">${icons.broken}<p class="lead">${problem.title}</p><p class="quiet">See the marked ${problem.errors.length > 1 ? "fields" : "field"}; nothing was run. <code>${problem.code}</code></p>
        <div>${this.#unplaced(problem).map(({ pointer, detail }) => html`<p><code>${pointer}</code> ${detail}</p>`)}</div></div>`;
    }
    if (kind === "done" || kind === "failed") {
      return html`<invocation-result .invocation=${invocation} .problem=${problem} .errors=${problem ? this.#unplaced(problem) : undefined}></invocation-result>`;
    }
    return html`<div class="empty">${icons.play}<p class="lead">Nothing has run here yet.</p><p class="quiet">Choose the parameters and run ${one.name}; the result appears in this place.</p></div>`;
  }
}

function successWords({ function: name, result, timings }) {
  const facts = [];
  if (typeof result?.accuracy === "number") facts.push(`Accuracy ${percent(result.accuracy)}.`);
  if (typeof result?.prediction === "string") facts.push(`Prediction ${result.prediction}.`);
  return `${name} succeeded${timings ? ` in ${duration(timings.total_ms)}` : ""}. ${facts.join(" ")}`;
}

define("function-page", FunctionPage);
