import { api } from "../api.js";
import { define } from "../element.js";
import { bytes, duration, relativeTime, status, time, words } from "../format.js";
import { instead, tile } from "../parts.js";
import { linkTo } from "../routes.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./pool-state.js";
import "./raw-json.js";

const PACE = 5000;
const ROLES = { pool: "ready, or made to be", invoke: "made for a call" };

/** What /debug knows, readable: the engine, what is ready, what is on the disk, and the settings in force. */
class SystemPage extends WatchingElement {
  #debug = null;

  connected(signal) {
    this.watch(() => PACE, signal);
  }

  async read(signal) {
    this.#debug = await api.debug(signal);
  }

  template() {
    return html`
      <header class="page-header">
        <h1 tabindex="-1">System</h1>
        <p>${this.#debug ? `Version ${this.#debug.version}, up for ${duration(this.#debug.uptime_seconds * 1000)}` : "What runs here, and on what."}${this.problem && this.#debug ? html` <span class="note" data-tone="waiting">not up to date</span>` : nothing}</p>
      </header>
      ${this.#debug ? this.#sections(this.#debug) : html`<div class="panel" aria-busy=${!this.problem}>${instead(this.problem, "The state of the system cannot be read right now.", 3)}</div>`}`;
  }

  #sections(debug) {
    return html`
      <div class="tiles">
        ${tile("Container engine", section(debug.engine, (one) => `Docker ${one.version}`), section(debug.engine, (one) => `${one.os}, ${one.cpus} cores, ${bytes(one.memory_bytes)}`))}
        ${tile("MLflow", section(debug.mlflow, (one) => one.version), html`<a href="/mlflow/">Open MLflow</a>`)}
        ${tile("Disk", section(debug.disk, (one) => `${bytes(one.free_bytes)} free`), section(debug.disk, (one) => `of ${bytes(one.total_bytes)}`))}
        ${tile("Running now", `${debug.pool.in_use} of ${debug.pool.max_concurrency}`, `${debug.pool.waiting} waiting, ${debug.pool.ready} ready`)}
        ${tile("Memory of containers", `${debug.pool.memory_mb} MB`, `of ${debug.pool.functions_memory_mb} MB, by their limits`)}
      </div>
      <section class="panel" aria-label="Ready containers">
        <h2>Ready containers</h2>
        ${this.#pools(debug.pool.functions)}
      </section>
      ${this.#retention(debug.retention)}
      <section class="panel" aria-label="Invocations on record">
        <h2>Invocations on record</h2>
        ${broken(debug.database) ?? html`<dl class="rows">${Object.entries(debug.database.invocations).filter(([, count]) => count > 0).map(([name, count]) => html`<div><dt><a href=${linkTo("invocations", undefined, { status: name })}>${status(name).word}</a></dt><dd class="numeral">${count}</dd></div>`)}</dl>`}
      </section>
      <section class="panel" aria-label="Containers">
        <h2>Containers of functions</h2>
        ${broken(debug.containers) ?? table(["Name", "Function", "State", "Why", "Since"], debug.containers, (one) => html`<tr><th scope="row" class="mono">${one.name}</th><td>${one.function}</td><td>${one.state}</td><td class="quiet">${ROLES[one.role] ?? one.role}</td><td><time datetime=${one.created_at} title=${time(one.created_at)}>${relativeTime(one.created_at)}</time></td></tr>`, (one) => one.id, "There is no container now.")}
      </section>
      <section class="panel" aria-label="Images">
        <h2>Images of functions</h2>
        ${broken(debug.images) ?? table(["Name", "# Size", "Built"], debug.images, (one) => html`<tr><th scope="row" class="mono">${one.tag}</th><td class="numeral">${bytes(one.size_bytes)}</td><td><time datetime=${one.built_at} title=${time(one.built_at)}>${relativeTime(one.built_at)}</time></td></tr>`, (one) => one.tag, "No image has been built yet.")}
      </section>
      <section class="panel" aria-label="Settings">
        <h2>Settings in force</h2>
        <details class="fold"><summary>${Object.keys(debug.settings).length} settings</summary>
          <dl class="rows">${Object.entries(debug.settings).map(([name, value]) => html`<div><dt class="mono">${name.toUpperCase()}</dt><dd class="wrap">${Array.isArray(value) ? value.join(", ") : String(value) || html`<span class="quiet">empty</span>`}</dd></div>`)}</dl>
        </details>
        <raw-json .value=${debug} .heading=${"All of this as JSON"}></raw-json>
      </section>`;
  }

  /** Each function that keeps some ready or has some now; the others in one line. */
  #pools(pools) {
    const all = Object.entries(pools);
    const isOff = ([, pool]) => pool.state === "off" && !pool.ready && !pool.starting && !pool.busy && !pool.waiting;
    const off = all.filter(isOff).map(([name]) => name);
    return html`
      <dl class="rows">${repeat(all.filter((one) => !isOff(one)), ([name]) => name, ([name, pool]) => html`<div><dt><a href=${linkTo("functions", name)}>${name}</a></dt><dd><pool-state .pool=${pool}></pool-state></dd></div>`)}</dl>
      ${all.length === 0 ? html`<p class="quiet">There are no functions yet.</p>` : nothing}
      ${off.length === 0 ? nothing : html`<p class="quiet below">Each call gets a container made for it: ${off.map((name, index) => html`${index > 0 ? ", " : nothing}<a href=${linkTo("functions", name)}>${name}</a>`)}.</p>`}`;
  }

  /** What there is, what would be removed now, and what the last run removed. */
  #retention(retention) {
    if (!retention) return nothing;
    return html`<section class="panel" aria-label="Disk">
      <h2>What is kept on the disk</h2>
      ${broken(retention) ?? html`
        ${table(["Kind", "# There is", "# Would go now"], Object.keys({ ...retention.stored, ...retention.removable }), (kind) => html`<tr><th scope="row">${words(kind)}</th><td class="numeral">${amount(retention.stored[kind])}</td><td class="numeral">${amount(retention.removable[kind])}</td></tr>`, (kind) => kind, "There is nothing yet.")}
        ${retention.problem ? html`<p class="note" data-tone="waiting">${retention.problem}</p>` : nothing}
        <p class="quiet below">${removed(retention.last_run)}</p>`}
    </section>`;
  }
}

function amount(one) {
  return one?.count > 0 ? `${one.count} (${bytes(one.bytes)})` : "–";
}

function removed(run) {
  if (!run) return "What is over the bounds is removed a moment after the start, and then every ten minutes.";
  const kinds = Object.entries(run.freed).map(([kind, one]) => `${words(kind).toLowerCase()}: ${amount(one)}`);
  return html`Last looked at <time datetime=${run.at} title=${time(run.at)}>${relativeTime(run.at)}</time>; removed: ${kinds.join(", ") || "nothing"}.`;
}

/** A part of the report that could not be found out is {error} instead. */
function section(part, words) {
  return part?.error ? html`<span data-tone="bad" class="note">${part.error}</span>` : words(part);
}

function broken(part) {
  return part?.error ? html`<p class="note" data-tone="bad">${part.error}</p>` : undefined;
}

/** A column whose name begins with "# " has numbers. */
function table(columns, rows, row, key, emptyWords) {
  if (rows.length === 0) return html`<p class="quiet">${emptyWords}</p>`;
  return html`<div class="table-scroll" tabindex="0" role="group" aria-label="Table"><table class="table table-sm"><thead><tr>${columns.map((one) => html`<th scope="col" class=${one.startsWith("# ") ? "numeral" : ""}>${one.replace("# ", "")}</th>`)}</tr></thead><tbody>${repeat(rows, key, row)}</tbody></table></div>`;
}

define("system-page", SystemPage);
