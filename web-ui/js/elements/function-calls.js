import { address, api } from "../api.js";
import { define } from "../element.js";
import { duration, isFinal, relativeTime, startKind, time } from "../format.js";
import { placeholders } from "../parts.js";
import { linkTo } from "../routes.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./status-badge.js";

const SHOWN = 8;

/** The last invocations of one function, whoever made them, and how long its calls take. Asks only while `isShown`. */
class FunctionCalls extends WatchingElement {
  static inputs = ["name", "isShown"];
  #calls = null;
  #figures = null;

  connected(signal) {
    const pace = () => (this.#calls?.some((one) => !isFinal(one.status)) ? 2000 : 8000);
    this.watch(pace, signal, ["invocation:started", "invocation:finished"]);
  }

  changed(name, _value, before) {
    if (before !== undefined) this.look();
  }

  async read(signal) {
    if (!this.isShown) return;
    const [page, statistics] = await Promise.all([api.history({ function: this.name, limit: SHOWN }, signal), api.statistics("24h", signal)]);
    this.#calls = page.invocations;
    this.#figures = statistics.functions.find((one) => one.function === this.name) ?? null;
  }

  template() {
    return html`<section class="panel" aria-label=${`Last invocations of ${this.name}`}>
      <div class="panel-head"><h2>Last invocations</h2><a href=${linkTo("invocations", undefined, { function: this.name })}>All of ${this.name}</a></div>
      ${this.#latency()}
      ${this.#list()}
    </section>`;
  }

  #latency() {
    const { count, failures, total_ms: latency } = this.#figures ?? {};
    if (!count) return nothing;
    return html`<p class="quiet">In the last 24 hours ${count} ${count === 1 ? "invocation" : "invocations"}, ${failures} failed; half of them within ${duration(latency.p50)}, 95 % within ${duration(latency.p95)}.</p>`;
  }

  #list() {
    if (this.#calls === null) {
      if (this.problem) return html`<p class="quiet">The list cannot be loaded right now. ${this.problem.message}</p>`;
      return placeholders(2);
    }
    if (this.#calls.length === 0) return html`<p class="quiet">It has not been called yet.</p>`;
    return html`<div class="table-scroll" tabindex="0" role="group" aria-label="Last invocations"><table class="table table-sm">
      <thead><tr><th scope="col">Invocation</th><th scope="col">Status</th><th scope="col" class="numeral">Latency</th><th scope="col">Start</th></tr></thead>
      <tbody>${repeat(this.#calls, (one) => one.invocation_id, (one) => html`<tr>
        <th scope="row"><a href=${address.invocation(one.invocation_id)}><time datetime=${one.created_at} title=${time(one.created_at)}>${relativeTime(one.created_at)}</time></a></th>
        <td><status-badge .status=${one.status}></status-badge></td>
        <td class="numeral">${isFinal(one.status) ? duration(one.timings?.total_ms) : "…"}</td>
        <td class="quiet">${startKind(one.start)}</td>
      </tr>`)}</tbody>
    </table></div>`;
  }
}

define("function-calls", FunctionCalls);
