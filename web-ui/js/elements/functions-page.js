import { address, api } from "../api.js";
import { define } from "../element.js";
import { duration, poolWords, relativeTime, time } from "../format.js";
import { icons } from "../icons.js";
import { loading } from "../parts.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./function-state.js";
import "./status-badge.js";

const PACE_MS = 6000;
const NEWEST = 50;

/** All functions: what each does, whether it can be called, how long its calls take, and the last one. */
class FunctionsPage extends WatchingElement {
  static inputs = ["functions", "catalogProblem"];
  #figures = new Map();
  // The last invocation by function; null when there is none.
  #last = new Map();

  connected(signal) {
    this.watch(() => PACE_MS, signal, ["invocation:finished"]);
  }

  changed(name, value, before) {
    if (name === "functions" && value?.length !== before?.length) this.look();
  }

  /** Only figures: without them the cards say all the same what there is. */
  async read(signal) {
    const names = this.functions?.map(({ name }) => name) ?? [];
    const unknown = names.filter((name) => !this.#last.has(name));
    const [statistics, newest, ...asked] = await Promise.all([
      api.statistics("7d", signal),
      api.history({ limit: NEWEST }, signal),
      ...unknown.map((name) => api.history({ function: name, limit: 1 }, signal)),
    ]);
    this.#figures = new Map(statistics.functions.map((one) => [one.function, one]));
    unknown.forEach((name, index) => this.#last.set(name, asked[index].invocations[0] ?? null));
    // Oldest first, so that the newest of each function stays.
    for (const one of newest.invocations.toReversed()) this.#last.set(one.function, one);
  }

  template() {
    return html`
      <header class="page-header">
        <h1 tabindex="-1">Functions</h1>
        <p>Every folder in <code>functions/</code>. Latencies are those of the last seven days.</p>
      </header>
      ${this.#content()}`;
  }

  #content() {
    if (this.functions === undefined) {
      if (this.catalogProblem) return html`<div class="panel"><div class="empty">${icons.broken}<h2 class="lead">The functions cannot be loaded.</h2><p class="quiet">${this.catalogProblem.message} This page tries again by itself.</p><button type="button" class="btn btn-quiet" @click=${() => this.tell("functions:read")}>Try now</button></div></div>`;
      return html`<div class="panel" aria-busy="true">${loading(2)}</div>`;
    }
    if (this.functions.length === 0) return html`<div class="panel"><div class="empty">${icons.folder}<h2 class="lead">No functions yet.</h2><p class="quiet">Drop a folder with a Dockerfile and a handler into <code>functions/</code>; it appears here by itself.</p></div></div>`;
    return html`<ul class="cards">${repeat(this.functions, (one) => one.name, (one) => this.#card(one))}</ul>`;
  }

  #card(one) {
    const latency = this.#figures.get(one.name)?.total_ms;
    return html`<li class="panel card-link">
      <div class="panel-head"><h2><a href=${address.function(one.name)}>${one.name}</a></h2><function-state .function=${one}></function-state></div>
      <p class="description">${one.description || html`<span class="quiet">No description.</span>`}</p>
      ${one.problem ? html`<p class="hint wrap" data-tone="bad">${one.problem}</p>` : nothing}
      <dl class="facts">
        <div><dt>Containers</dt><dd>${one.state === "invalid" ? "–" : poolWords(one.pool) || "made for each call"}</dd></div>
        <div><dt>Latency</dt><dd>${latency?.p50 == null ? "–" : html`${duration(latency.p50)}<span class="aside">95 % within ${duration(latency.p95)}</span>`}</dd></div>
        <div><dt>Last call</dt><dd>${this.#lastCall(one.name)}</dd></div>
      </dl>
    </li>`;
  }

  #lastCall(name) {
    const last = this.#last.get(name);
    if (last === undefined) return "…";
    if (last === null) return "never";
    return html`<a href=${address.invocation(last.invocation_id)}><time datetime=${last.created_at} title=${time(last.created_at)}>${relativeTime(last.created_at)}</time></a> <status-badge .status=${last.status}></status-badge>`;
  }
}

define("functions-page", FunctionsPage);
