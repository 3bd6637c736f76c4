import { address, api } from "../api.js";
import { define } from "../element.js";
import { bytes, duration, isFinal, percent, poolWords, relativeTime, status, time } from "../format.js";
import { icons } from "../icons.js";
import { instead, tile } from "../parts.js";
import { prose } from "../prose.js";
import { linkTo, refine } from "../routes.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./progress-bar.js";
import "./status-badge.js";
import "./status-chart.js";

const WINDOWS = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days" };
const OPEN = "running,starting,queued";
const BAD = "failed,timed_out,lost";
const SHOWN = 6;

/** What goes on: is everything well, how calls went lately, what runs now, and what failed and why. */
class OverviewPage extends WatchingElement {
  static inputs = ["query"];
  #statistics = null;
  #debug = null;
  #open = null;
  #failed = null;

  connected(signal) {
    this.watch(() => (this.#open?.length ? 1500 : 4000), signal, ["invocation:started", "invocation:finished"]);
  }

  changed(name, value, before) {
    if (before !== undefined && String(value) !== String(before)) this.look();
  }

  get #window() {
    const wanted = this.query.get("window");
    return wanted in WINDOWS ? wanted : "1h";
  }

  async read(signal) {
    [this.#statistics, this.#debug, this.#open, this.#failed] = await Promise.all([
      api.statistics(this.#window, signal),
      api.debug(signal),
      api.history({ status: OPEN, limit: SHOWN }, signal).then((page) => page.invocations),
      api.history({ status: BAD, limit: SHOWN }, signal).then((page) => page.invocations),
    ]);
  }

  #choose(window) {
    refine(window === "1h" ? {} : { window });
    this.query = new URLSearchParams(window === "1h" ? {} : { window });
    this.look();
  }

  template() {
    return html`
      <header class="page-header">
        <h1 tabindex="-1">Overview</h1>
        <p>${this.#debug ? this.#healthLine(this.#debug) : "How the system is, and what it does right now."}</p>
      </header>
      ${this.#debug ? this.#sections() : html`<div class="panel" aria-busy=${!this.problem}>${instead(this.problem, "The overview cannot be loaded right now.", 3)}</div>`}`;
  }

  /** Engine, MLflow, pool and disk in one line of words. */
  #healthLine({ engine, mlflow, pool, disk }) {
    const pools = Object.entries(pool.functions);
    const troubled = pools.filter(([, one]) => ["broken", "no_memory"].includes(one.state)).map(([name]) => name);
    const facts = [
      engine.error ? bad("The container engine does not answer") : `Docker ${engine.version}`,
      mlflow.error ? bad("MLflow does not answer") : `MLflow ${mlflow.version}`,
      troubled.length > 0 ? bad(`Containers of ${troubled.join(", ")} are in trouble`) : `${pool.ready} ${pool.ready === 1 ? "container" : "containers"} ready`,
      disk.error ? bad("The disk cannot be read") : `${bytes(disk.free_bytes)} free on the disk`,
    ];
    return html`${facts.map((one, index) => html`${index > 0 ? " · " : nothing}${one}`)}${this.problem ? html` · ${bad("not up to date")}` : nothing}`;
  }

  #sections() {
    const { total, open } = this.#statistics;
    const running = (open.running ?? 0) + (open.starting ?? 0);
    return html`
      <div class="tiles">
        ${tile("Invocations", String(total.count), WINDOWS[this.#window].toLowerCase())}
        ${tile("Failed", total.count ? percent(total.failures / total.count) : "–", total.failures ? html`<a href=${linkTo("invocations", undefined, { status: BAD, span: this.#window })}>${total.failures} to look at</a>` : "nothing to look at", total.failures ? "bad" : undefined)}
        ${tile("Median latency", duration(total.total_ms.p50), `95 % within ${duration(total.total_ms.p95)}`)}
        ${tile("Ready containers", String(this.#debug.pool.ready), warmWords(total.starts))}
        ${tile("Running now", String(running), open.queued ? `${open.queued} in the queue` : "nothing waits")}
      </div>
      <section class="panel" aria-label="Invocations over time">
        <div class="panel-head">
          <h2>Invocations over time</h2>
          <div class="segments" role="group" aria-label="Time">
            ${Object.entries(WINDOWS).map(([value, words]) => html`<button type="button" class="segment" aria-pressed=${value === this.#window} @click=${() => this.#choose(value)}>${words}</button>`)}
          </div>
        </div>
        ${total.count === 0 ? html`<div class="empty small">${icons.list}<p>Nothing ended in this time.</p><p class="quiet"><a href=${linkTo("functions")}>Run a function</a>, and it appears here.</p></div>` : html`<status-chart .statistics=${this.#statistics}></status-chart>`}
      </section>
      <div class="work even">
        <section class="panel" aria-label="Running now">
          <div class="panel-head"><h2>Running now</h2><a href=${linkTo("invocations", undefined, { status: OPEN })}>All</a></div>
          ${this.#open.length === 0 ? html`<div class="empty small">${icons.play}<p>Nothing runs.</p></div>` : html`<ul class="calls">${repeat(this.#open, (one) => one.invocation_id, (one) => this.#call(one))}</ul>`}
        </section>
        <section class="panel" aria-label="Last failures">
          <div class="panel-head"><h2>Last failures</h2><a href=${linkTo("invocations", undefined, { status: BAD })}>All</a></div>
          ${this.#failed.length === 0 ? html`<div class="empty small">${icons.list}<p>Nothing has failed.</p></div>` : html`<ul class="calls">${repeat(this.#failed, (one) => one.invocation_id, (one) => this.#call(one))}</ul>`}
        </section>
      </div>
      <section class="panel" aria-label="Functions">
        <div class="panel-head"><h2>Functions</h2><a href=${linkTo("functions")}>Run one</a></div>
        ${this.#functions()}
      </section>`;
  }

  #call(one) {
    const diagnosis = one.error?.diagnosis;
    return html`<li>
      <a href=${address.invocation(one.invocation_id)}>
        <status-badge .status=${one.status}></status-badge>
        <span class="name">${one.function}</span>
        <time class="quiet" datetime=${one.created_at} title=${time(one.created_at)}>${relativeTime(one.created_at)}</time>
      </a>
      ${isFinal(one.status) ? html`<p class="quiet wrap">${prose(diagnosis?.cause ?? one.error?.message ?? status(one.status).word)}</p>${diagnosis?.next_step ? html`<p class="quiet wrap">${prose(diagnosis.next_step)}</p>` : nothing}` : html`<progress-bar .progress=${one.progress}></progress-bar>`}
    </li>`;
  }

  #functions() {
    const figures = new Map(this.#statistics.functions.map((one) => [one.function, one]));
    const names = [...new Set([...Object.keys(this.#debug.pool.functions), ...figures.keys()])].sort();
    if (names.length === 0) return html`<p class="quiet">There are no functions yet: drop a folder into <code>functions/</code>.</p>`;
    const pools = this.#debug.pool.functions;
    const isBusy = (name) => figures.has(name) || Boolean(pools[name] && poolWords(pools[name]));
    const busy = names.filter(isBusy);
    const quiet = names.filter((name) => !isBusy(name));
    return html`
      ${busy.length === 0 ? nothing : html`<div class="table-scroll" tabindex="0" role="group" aria-label="Functions"><table class="table">
        <thead><tr><th scope="col">Function</th><th scope="col" class="numeral">Invocations</th><th scope="col" class="numeral">Failed</th><th scope="col" class="numeral">Median</th><th scope="col" class="numeral">95 %</th><th scope="col">Containers</th></tr></thead>
        <tbody>${busy.map((name) => {
          const one = figures.get(name);
          return html`<tr><th scope="row"><a href=${linkTo("functions", name)}>${name}</a></th><td class="numeral">${one?.count ?? 0}</td><td class="numeral">${one?.failures ?? 0}</td><td class="numeral">${duration(one?.total_ms.p50)}</td><td class="numeral">${duration(one?.total_ms.p95)}</td><td class="quiet text-nowrap">${pools[name] ? poolWords(pools[name]) || "none is kept ready" : "removed"}</td></tr>`;
        })}</tbody>
      </table></div>`}
      ${quiet.length === 0 ? nothing : html`<p class="quiet below">${busy.length === 0 ? "No calls" : "Without calls"} in this time: ${quiet.map((name, index) => html`${index > 0 ? ", " : nothing}<a href=${linkTo("functions", name)}>${name}</a>`)}.</p>`}`;
  }
}

function bad(words) {
  return html`<span class="note" data-tone="bad">${words}</span>`;
}

/** How many calls found a container waiting. */
function warmWords(starts) {
  const counts = Object.fromEntries(Object.entries(starts).map(([name, one]) => [name, one.count]));
  const handed = Object.values(counts).reduce((sum, one) => sum + one, 0);
  if (handed === 0) return "no call yet";
  return `${percent(((counts.warm ?? 0) + (counts.reused ?? 0)) / handed)} of calls did not wait for one`;
}

define("overview-page", OverviewPage);
