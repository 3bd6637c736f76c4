import { address, api } from "../api.js";
import { define } from "../element.js";
import { duration, number, relativeTime, shortId, words } from "../format.js";
import { icons } from "../icons.js";
import { instead } from "../parts.js";
import { linkTo } from "../routes.js";
import { html, nothing } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./status-badge.js";

const STOPPED = 3_600_000;

/** Several invocations, or several versions of a model, side by side; what differs is marked. */
class ComparePage extends WatchingElement {
  static inputs = ["query"];
  #found = null;
  #onlyDifferences = false;

  connected(signal) {
    // Read once; again only when that failed for a reason that may pass.
    this.watch(() => STOPPED, signal);
  }

  changed(_name, value, before) {
    if (before === undefined || String(value) === String(before)) return;
    this.#found = null;
    this.look();
  }

  async read(signal) {
    const model = this.query.get("model");
    this.#found = model
      ? { model, versions: await api.compareVersions(model, this.query.get("versions") ?? "", signal) }
      : { invocations: await api.compareInvocations(this.query.get("ids") ?? "", signal) };
  }

  /** What was refused would be refused again. */
  mayPass({ status }) {
    return status === 0 || status >= 500;
  }

  template() {
    return html`
      <header class="page-header"><h1 tabindex="-1">Compare</h1>${this.#introduction()}</header>
      ${this.#content()}`;
  }

  #content() {
    if (this.problem && !this.mayPass(this.problem)) return html`<div class="panel"><div class="empty">${icons.broken}<p class="lead">This cannot be compared.</p><p class="quiet">${this.problem.message}</p></div></div>`;
    if (this.problem || this.#found === null) return html`<div class="panel" aria-busy=${!this.problem}>${instead(this.problem, "This cannot be compared right now.", 2)}</div>`;
    return this.#found.model ? this.#versions(this.#found.versions) : this.#invocations(this.#found.invocations);
  }

  #introduction() {
    if (this.#found?.model) return html`<p>Versions of <a href=${linkTo("models", this.#found.model)}>${this.#found.model}</a>, side by side. What is not as in the first one is marked.</p>`;
    return html`<p>Invocations side by side: only what differs. What is not as in the first one is marked.</p>`;
  }

  #versions({ versions, metrics, parameters }) {
    const rows = (title, values) => html`
      <tr class="section"><th scope="rowgroup" colspan=${versions.length + 1}>${title}</th></tr>
      ${values.filter((one) => one.differs || !this.#onlyDifferences).map((one) => html`<tr><th scope="row">${words(one.name)}</th>${cells(versions.map(({ version }) => one.values[version]), (value) => show(value), "numeral")}</tr>`)}`;
    return html`<section class="panel" aria-label="Versions side by side">
      <label class="check"><input type="checkbox" class="form-check-input" .checked=${this.#onlyDifferences} @change=${(event) => { this.#onlyDifferences = event.target.checked; this.update(); }}> Only what differs</label>
      <div class="table-scroll" tabindex="0" role="group" aria-label="Versions side by side"><table class="table compare">
        <thead><tr><th scope="col"><span class="visually-hidden">What</span></th>${versions.map((one) => html`<th scope="col" class="numeral"><a href=${linkTo("models", this.#found.model, { version: one.version })}>Version ${one.version}</a>${one.aliases.map((alias) => html` <span class="tag">@${alias}</span>`)}<div class="quiet">${relativeTime(one.created_at)}</div></th>`)}</tr></thead>
        <tbody>${rows("Metrics", metrics)}</tbody>
        <tbody>${rows("Parameters", parameters)}</tbody>
      </table></div>
    </section>`;
  }

  #invocations({ invocations, differences, is_truncated: isTruncated }) {
    return html`<section class="panel" aria-label="Invocations side by side">
      <div class="table-scroll" tabindex="0" role="group" aria-label="Invocations side by side"><table class="table compare">
        <thead><tr><th scope="col"><span class="visually-hidden">What</span></th>${invocations.map((one) => html`<th scope="col"><a class="mono" href=${address.invocation(one.invocation_id)}>${shortId(one.invocation_id)}</a><div class="quiet">${one.function}, ${relativeTime(one.created_at)}</div><status-badge .status=${one.status}></status-badge></th>`)}</tr></thead>
        <tbody>${differences.length === 0 ? html`<tr><td colspan=${invocations.length + 1}>They do not differ in anything that is compared: parameters, results, timings, image, model.</td></tr>` : differences.map((one) => html`<tr><th scope="row" class="mono wrap">${path(one.pointer)}</th>${cells(invocations.map(({ invocation_id: id }) => one.values[id]), (value) => (one.pointer.startsWith("/timings/") && typeof value === "number" ? duration(value) : show(value)), "wrap")}</tr>`)}</tbody>
      </table></div>
      ${isTruncated ? html`<p class="quiet">There are more differences than are shown.</p>` : nothing}
    </section>`;
  }
}

/** One cell for each; the mark says that it is not the same as in the first. */
function cells(values, words, kind) {
  const first = JSON.stringify(values[0]);
  return values.map((value) => {
    const isOther = JSON.stringify(value) !== first;
    return html`<td class=${kind} data-differs=${isOther}>${words(value)}${isOther ? html`<span class="visually-hidden">, differs</span>` : nothing}</td>`;
  });
}

function show(value) {
  if (value === undefined) return html`<span class="quiet">–</span>`;
  if (typeof value === "number") return html`<span title=${value}>${number(value)}</span>`;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** /result/accuracy → result › accuracy */
function path(pointer) {
  return pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~")).join(" › ");
}

define("compare-page", ComparePage);
