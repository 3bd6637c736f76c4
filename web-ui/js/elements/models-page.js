import { api } from "../api.js";
import { define } from "../element.js";
import { relativeTime, time } from "../format.js";
import { icons } from "../icons.js";
import { instead, notUpToDate } from "../parts.js";
import { linkTo } from "../routes.js";
import { html, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";

/** The registered models. */
class ModelsPage extends WatchingElement {
  #models = null;

  connected(signal) {
    this.watch(() => 10_000, signal, ["invocation:finished"]);
  }

  async read(signal) {
    this.#models = await api.models(signal);
  }

  template() {
    return html`
      <header class="page-header">
        <h1 tabindex="-1">Models</h1>
        <p>What training has registered: versions, their measures, and which one is in use.</p>
      </header>
      <section class="panel" aria-label="Registered models" aria-busy=${this.#models === null && !this.problem}>${this.#list()}</section>`;
  }

  #list() {
    if (this.#models === null) return instead(this.problem, "The models cannot be loaded right now.", 2);
    if (this.#models.length === 0) return html`<div class="empty">${icons.folder}<p class="lead">No model yet.</p><p class="quiet">Run <a href=${linkTo("functions", "train")}>train</a>: it registers its model here.</p></div>`;
    return html`
      ${notUpToDate(this.problem)}
      <div class="table-scroll" tabindex="0" role="group" aria-label="Registered models"><table class="table">
        <thead><tr><th scope="col">Model</th><th scope="col" class="numeral">Newest version</th><th scope="col">Aliases</th><th scope="col">Changed</th></tr></thead>
        <tbody>${repeat(this.#models, (one) => one.name, (one) => html`<tr>
          <th scope="row"><a href=${linkTo("models", one.name)}>${one.name}</a></th>
          <td class="numeral">${one.latest_version ?? "–"}</td>
          <td>${Object.entries(one.aliases).map(([alias, version]) => html`<span class="tag">@${alias} → ${version}</span> `)}</td>
          <td><time datetime=${one.updated_at ?? ""} title=${time(one.updated_at)}>${relativeTime(one.updated_at)}</time></td>
        </tr>`)}</tbody>
      </table></div>`;
  }
}

define("models-page", ModelsPage);
