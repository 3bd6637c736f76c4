import { address, api } from "../api.js";
import { define } from "../element.js";
import { duration, number, relativeTime, time, words } from "../format.js";
import { icons } from "../icons.js";
import { instead, placeholders } from "../parts.js";
import { linkTo, refine } from "../routes.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./alias-panel.js";
import "./metric-lines.js";
import "./problem-alert.js";
import "./status-badge.js";

const MEASURES = ["accuracy", "precision", "recall", "f1_score"];
const USES = 10;

/** One model: its versions and their measures over time, its aliases and who moved them, what made a version and what used it. */
class ModelPage extends WatchingElement {
  static inputs = ["model", "query"];
  #versions;
  #details = null;
  #uses = null;
  #chosen = new Set();

  connected(signal) {
    this.watch(() => 8000, signal, ["invocation:finished", "alias:moved"]);
  }

  changed(name, value, before) {
    if (before === undefined || String(value) === String(before)) return;
    if (name === "model") {
      this.#versions = undefined;
      this.#chosen = new Set();
    }
    this.#details = null;
    this.#uses = null;
    this.look();
  }

  async read(signal) {
    this.#versions = await api.modelVersions(this.model, signal);
    const version = this.query.get("version");
    if (version && this.#versions) {
      const [details, uses] = await Promise.all([
        api.modelVersion(this.model, version, signal),
        api.history({ model_name: this.model, model_version: version, limit: USES }, signal),
      ]);
      this.#details = details;
      this.#uses = uses.invocations;
    }
  }

  #choose(version, isChosen) {
    if (isChosen) this.#chosen.add(version);
    else this.#chosen.delete(version);
    this.update();
  }

  #open(version) {
    refine({ version });
    this.query = new URLSearchParams(version ? { version } : {});
  }

  template() {
    return html`
      <header class="page-header">
        <h1 tabindex="-1">${this.model}</h1>
        <p><a href=${linkTo("models")}>All models</a> · <a href=${address.model(this.model)}>Open in MLflow</a>${this.problem && this.#versions ? html` · <span class="note" data-tone="waiting">not up to date</span>` : nothing}</p>
      </header>
      ${this.#versions ? this.#sections() : this.#instead()}`;
  }

  #instead() {
    if (this.#versions === null) return html`<div class="panel"><div class="empty">${icons.folder}<p class="lead">There is no model named ${this.model}.</p><p class="quiet"><a href=${linkTo("models")}>These are registered</a>.</p></div></div>`;
    return html`<div class="panel" aria-busy=${!this.problem}>${instead(this.problem, "The versions cannot be loaded right now.", 2)}</div>`;
  }

  #sections() {
    const shown = this.query.get("version");
    const chosen = [...this.#chosen].sort((a, b) => Number(a) - Number(b));
    return html`
      ${this.#versions.length > 1 ? html`<section class="panel" aria-label="Measures over time"><h2>Measures over time</h2><metric-lines .versions=${this.#versions}></metric-lines></section>` : nothing}
      <section class="panel" aria-label="Versions">
        <div class="panel-head">
          <h2>Versions</h2>
          ${chosen.length >= 2 ? html`<a class="btn btn-quiet" href=${linkTo("compare", undefined, { model: this.model, versions: chosen.join(",") })}>Compare ${chosen.length} versions</a>` : html`<span class="quiet">Tick two or more to compare them.</span>`}
        </div>
        <div class="table-scroll" tabindex="0" role="group" aria-label="Versions"><table class="table">
          <thead><tr><th scope="col"><span class="visually-hidden">Compare</span></th><th scope="col">Version</th><th scope="col">Aliases</th>${MEASURES.map((name) => html`<th scope="col" class="numeral">${words(name)}</th>`)}<th scope="col" class="numeral">Training</th><th scope="col">Registered</th></tr></thead>
          <tbody>${repeat(this.#versions, (one) => one.version, (one) => html`<tr aria-current=${one.version === shown ? "true" : "false"}>
            <td><input type="checkbox" class="form-check-input" aria-label=${`Compare version ${one.version}`} .checked=${this.#chosen.has(one.version)} @change=${(event) => this.#choose(one.version, event.target.checked)}></td>
            <th scope="row"><button type="button" class="link" aria-expanded=${one.version === shown} @click=${() => this.#open(one.version === shown ? undefined : one.version)}>${one.version}</button></th>
            <td>${one.aliases.map((alias) => html`<span class="tag">@${alias}</span> `)}</td>
            ${MEASURES.map((name) => html`<td class="numeral">${number(one.metrics[name])}</td>`)}
            <td class="numeral">${typeof one.metrics.training_time_seconds === "number" ? duration(one.metrics.training_time_seconds * 1000) : "–"}</td>
            <td><time datetime=${one.created_at} title=${time(one.created_at)}>${relativeTime(one.created_at)}</time></td>
          </tr>`)}</tbody>
        </table></div>
      </section>
      ${shown ? this.#version(shown) : nothing}
      <alias-panel .model=${this.model} .versions=${this.#versions}></alias-panel>`;
  }

  #version(shown) {
    const one = this.#details?.version === shown ? this.#details : null;
    return html`<section class="panel" aria-label=${`Version ${shown}`}>
      <h2>Version ${shown}</h2>
      ${one === null ? placeholders(1) : html`
        <div class="work even">
          <dl class="rows">
            <div><dt>Made by</dt><dd>${one.made_by ? html`<a href=${address.invocation(one.made_by.invocation_id)}>an invocation of ${one.made_by.function}</a>, ${relativeTime(one.made_by.created_at)}` : html`<span class="quiet">nobody on record here</span>`}</dd></div>
            <div><dt>Run</dt><dd>${one.run_id ? html`<a class="mono" href=${one.mlflow_url}>${one.run_id.slice(0, 8)} in MLflow</a>` : html`<span class="quiet">none</span>`}</dd></div>
            ${Object.entries(one.parameters).map(([name, value]) => html`<div><dt>${words(name)}</dt><dd class="wrap">${value}</dd></div>`)}
          </dl>
          <div>
            <h3>Invocations that made or used it</h3>
            ${this.#uses?.length ? html`<ul class="calls">${this.#uses.map((use) => html`<li><a href=${address.invocation(use.invocation_id)}><status-badge .status=${use.status}></status-badge><span class="name">${use.function}</span><time class="quiet" datetime=${use.created_at}>${relativeTime(use.created_at)}</time></a></li>`)}</ul><p><a href=${linkTo("invocations", undefined, { model_name: this.model, model_version: shown })}>All of them</a></p>` : html`<p class="quiet">No invocation on record made or used it.</p>`}
          </div>
        </div>`}
    </section>`;
  }
}

define("model-page", ModelPage);
