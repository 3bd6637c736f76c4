import { address, api } from "../api.js";
import { define } from "../element.js";
import { duration, isFinal, relativeTime, startKind, status, time } from "../format.js";
import { icons } from "../icons.js";
import { instead, notUpToDate } from "../parts.js";
import { linkTo, refine } from "../routes.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./status-badge.js";

const STEP = 50;
const STATUSES = ["queued", "starting", "running", "succeeded", "failed", "timed_out", "cancelled", "lost"];
const SPANS = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days" };
const HOURS = { "1h": 1, "24h": 24, "7d": 168 };
const STARTS = ["cold", "warm", "reused"];
const FILTERS = ["function", "status", "start", "q", "model_name", "model_version", "run_id"];
const TYPING_MS = 250;
const FULL = 200;
const MOST_COMPARED = 10;
// Filters that come with links from other pages. They have no field of their own; each is shown as a word that can be taken away.
const FROM_LINKS = { model_name: "model", model_version: "version", run_id: "run" };

/** The history: every invocation on record, newest first, narrowed by filters that stand in the address. */
class InvocationsPage extends WatchingElement {
  static inputs = ["query"];
  #newest = null;
  #older = [];
  #next = null;
  #functions = [];
  #typing = null;
  #isLoadingOlder = false;
  #chosen = new Set();

  connected(signal) {
    this.watch(() => this.#pace(), signal, ["invocation:started", "invocation:finished"]);
    this.#readFunctions(signal);
  }

  disconnected() {
    clearTimeout(this.#typing);
  }

  changed(name, value, before) {
    if (before === undefined || String(value) === String(before)) return;
    this.#newest = null;
    this.#older = [];
    this.#next = null;
    this.look();
  }

  #filters() {
    const span = this.query.get("span");
    const since = HOURS[span] ? new Date(Date.now() - HOURS[span] * 3_600_000).toISOString() : undefined;
    return { ...Object.fromEntries(FILTERS.map((name) => [name, this.query.get(name)])), since };
  }

  async read(signal) {
    const page = await api.history({ ...this.#filters(), limit: STEP }, signal);
    this.#keep(page);
    await this.#refresh(signal);
  }

  /** The first page anew. What it pushes out goes on below, so that nobody who has scrolled down loses the place. */
  #keep({ invocations, next }) {
    const ids = new Set(invocations.map((one) => one.invocation_id));
    if (this.#newest === null || this.#older.length === 0) this.#next = next;
    else this.#older = [...this.#newest, ...this.#older].filter((one) => !ids.has(one.invocation_id));
    this.#newest = invocations;
  }

  /** Those that had not ended when the first page pushed them out: they are not in it any more. */
  async #refresh(signal) {
    const open = this.#older.filter((one) => !isFinal(one.status)).slice(0, STEP / 5);
    const read = await Promise.all(open.map((one) => api.invocation(one.invocation_id, signal)));
    const now = new Map(read.map((one) => [one.invocation_id, one]));
    this.#older = this.#older.map((one) => now.get(one.invocation_id) ?? one);
  }

  async #readOlder() {
    const filters = String(this.query);
    this.#isLoadingOlder = true;
    this.update();
    try {
      const { invocations, next } = await api.history({ ...this.#filters(), limit: FULL, before: this.#next });
      if (filters !== String(this.query)) return;
      const known = new Set([...this.#newest, ...this.#older].map((one) => one.invocation_id));
      this.#older = [...this.#older, ...invocations.filter((one) => !known.has(one.invocation_id))];
      this.#next = next;
      this.problem = null;
    } catch (error) {
      this.problem = error;
    } finally {
      this.#isLoadingOlder = false;
      this.update();
    }
  }

  async #readFunctions(signal) {
    try {
      this.#functions = (await api.functions(signal)).map((one) => one.name);
      this.update();
    } catch {
      // The list of names only helps to choose; the address takes any.
    }
  }

  #pace() {
    return this.#newest?.some((one) => !isFinal(one.status)) ? 1500 : 4000;
  }

  #filter(name, value) {
    const query = new URLSearchParams(this.query);
    if (value) query.set(name, value);
    else query.delete(name);
    // A version is one of a model.
    if (!query.has("model_name")) query.delete("model_version");
    refine(Object.fromEntries(query));
    this.query = query;
  }

  #type(event) {
    clearTimeout(this.#typing);
    const { value } = event.target;
    this.#typing = setTimeout(() => this.#filter("q", value.trim()), TYPING_MS);
  }

  template() {
    const isFiltered = [...this.query.keys()].length > 0;
    return html`
      <header class="page-header">
        <h1 tabindex="-1">Invocations</h1>
        <p>Every call, newest first: what went in, what came out, and what was printed.</p>
      </header>
      <form class="filters panel" role="search" aria-label="Filters" @submit=${(event) => event.preventDefault()}>
        <label><span>Function</span>
          <select class="form-select" @change=${(event) => this.#filter("function", event.target.value)}>
            <option value="">All functions</option>
            ${this.#choices(this.#functions, this.query.get("function"))}
          </select>
        </label>
        <label><span>Status</span>
          <select class="form-select" @change=${(event) => this.#filter("status", event.target.value)}>
            <option value="">Any status</option>
            ${this.#choices(STATUSES, this.query.get("status"), (one) => one.split(",").map((part) => status(part).word).join(", "))}
          </select>
        </label>
        <label><span>Start</span>
          <select class="form-select" @change=${(event) => this.#filter("start", event.target.value)}>
            <option value="">Any start</option>
            ${this.#choices(STARTS, this.query.get("start"), startKind)}
          </select>
        </label>
        <label><span>Time</span>
          <select class="form-select" @change=${(event) => this.#filter("span", event.target.value)}>
            <option value="">All time</option>
            ${Object.entries(SPANS).map(([value, words]) => html`<option value=${value} .selected=${value === this.query.get("span")}>${words}</option>`)}
          </select>
        </label>
        <label class="wide"><span>Text</span>
          <input class="form-control" type="search" placeholder="id, container, parameter, message" .value=${this.query.get("q") ?? ""} @input=${(event) => this.#type(event)}>
        </label>
        ${isFiltered ? html`<p class="filter-chips">${this.#chips()}<a class="quiet-button" href=${linkTo("invocations")}>Clear filters</a></p>` : nothing}
      </form>
      <section class="panel history" aria-label="History" aria-busy=${this.#newest === null}>
        ${this.#list(isFiltered)}
      </section>`;
  }

  #choices(names, chosen, words = (name) => name) {
    const all = chosen && !names.includes(chosen) ? [...names, chosen] : names;
    return all.map((name) => html`<option value=${name} .selected=${name === chosen}>${words(name)}</option>`);
  }

  #chips() {
    return Object.entries(FROM_LINKS)
      .filter(([name]) => this.query.get(name))
      .map(([name, words]) => html`<button type="button" class="chip" @click=${() => this.#filter(name, "")}>${words} ${this.query.get(name)} <span aria-hidden="true">×</span><span class="visually-hidden">, remove this filter</span></button>`);
  }

  #choose(id, isChosen) {
    if (isChosen) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.update();
  }

  /** What can be done with the rows that are ticked. */
  #comparison() {
    const chosen = [...this.#chosen];
    if (chosen.length < 2) return html`<span class="quiet">${chosen.length === 0 ? "Tick two or more to compare them." : "Tick one more to compare."}</span>`;
    if (chosen.length > MOST_COMPARED) return html`<span class="quiet">At most ${MOST_COMPARED} can be compared; ${chosen.length} are ticked.</span>`;
    return html`<a class="btn btn-quiet" href=${linkTo("compare", undefined, { ids: chosen.join(",") })}>Compare ${chosen.length} invocations</a>`;
  }

  #list(isFiltered) {
    if (this.#newest === null) return instead(this.problem, "The history cannot be loaded right now.", 5);
    const rows = [...this.#newest, ...this.#older];
    if (rows.length === 0) {
      return isFiltered
        ? html`<div class="empty">${icons.list}<p class="lead">Nothing fits these filters.</p><p class="quiet">Take one away, or <a href=${linkTo("invocations")}>look at everything</a>.</p></div>`
        : html`<div class="empty">${icons.list}<p class="lead">No invocations yet.</p><p class="quiet">Every call is kept here with its log, also those from curl. Begin with <a href=${linkTo("functions")}>a function</a>.</p></div>`;
    }
    return html`
      ${notUpToDate(this.problem)}
      <div class="panel-head">
        <span class="quiet" role="status">${rows.length}${this.#next ? "+" : ""} ${rows.length === 1 && !this.#next ? "invocation" : "invocations"}</span>
        ${this.#comparison()}
        ${this.#chosen.size > 0 ? html`<button type="button" class="quiet-button" @click=${() => { this.#chosen.clear(); this.update(); }}>Untick all</button>` : nothing}
      </div>
      <div class="table-scroll" tabindex="0" role="group" aria-label="Invocations">
        <table class="table history-table">
          <thead><tr><th scope="col"><span class="visually-hidden">Compare</span></th><th scope="col">Status</th><th scope="col">Function</th><th scope="col">When</th><th scope="col" class="numeral">Took</th><th scope="col">Start</th><th scope="col">What came of it</th></tr></thead>
          <tbody>${repeat(rows, (one) => one.invocation_id, (one) => this.#row(one))}</tbody>
        </table>
      </div>
      ${this.#next ? html`<button type="button" class="btn btn-quiet" ?disabled=${this.#isLoadingOlder} @click=${() => this.#readOlder()}>${this.#isLoadingOlder ? "Loading…" : "Show older"}</button>` : nothing}`;
  }

  #row(one) {
    const isChosen = this.#chosen.has(one.invocation_id);
    return html`<tr data-chosen=${isChosen ? "yes" : "no"}>
      <td><input type="checkbox" class="form-check-input" aria-label=${`Compare ${one.function}, ${time(one.created_at)}`} .checked=${isChosen} @change=${(event) => this.#choose(one.invocation_id, event.target.checked)}></td>
      <td><status-badge .status=${one.status}></status-badge></td>
      <th scope="row"><a href=${address.invocation(one.invocation_id)}>${one.function}</a></th>
      <td><time datetime=${one.created_at} title=${time(one.created_at)}>${relativeTime(one.created_at)}</time></td>
      <td class="numeral">${isFinal(one.status) ? duration(one.timings?.total_ms) : "…"}</td>
      <td class="quiet">${startKind(one.start)}${one.mode === "async" ? html` <span class="note">background</span>` : nothing}</td>
      <td class="outcome">${outcome(one)}</td>
    </tr>`;
  }
}

/** One line about the end, or about what is going on. */
function outcome(one) {
  if (one.status === "queued" && one.next_attempt_at) return `Attempt ${one.attempt} waits. ${one.error?.message ?? ""}`;
  if (one.status === "queued") return one.queue_position ? `Place ${one.queue_position} in the queue` : "";
  if (one.progress && !isFinal(one.status)) return [one.progress.message, one.progress.total ? `${one.progress.done} of ${one.progress.total}` : ""].filter(Boolean).join(", ");
  if (one.error) return one.error.diagnosis?.cause ?? one.error.message;
  const { result } = one;
  if (result && typeof result === "object") {
    if (typeof result.accuracy === "number") return `Accuracy ${(result.accuracy * 100).toFixed(1)} %, ${result.model_name} version ${result.model_version}`;
    if (typeof result.prediction === "string") return result.prediction;
    if (Array.isArray(result.prediction)) return `${result.prediction.length} predictions`;
  }
  return result === null || result === undefined ? "" : JSON.stringify(result).slice(0, 160);
}

define("invocations-page", InvocationsPage);
