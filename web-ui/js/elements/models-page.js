import { api } from "../api.js";
import { AppElement, define } from "../element.js";
import { relativeTime, time } from "../format.js";
import { icons } from "../icons.js";
import { poll } from "../poll.js";
import { linkTo } from "../routes.js";
import { html, nothing, repeat } from "../vendor.js";

/** The registered models. */
class ModelsPage extends AppElement {
  #models = null;
  #problem = null;

  connected(signal) {
    const look = poll((attempt) => this.#read(attempt), () => 10_000, signal);
    for (const type of ["invocation:finished", "runner:back"]) document.addEventListener(type, () => look(), { signal });
  }

  async #read(signal) {
    try {
      this.#models = await api.models(signal);
      this.#problem = null;
    } catch (error) {
      if (signal.aborted) return;
      this.#problem = error;
      if (error.isConnectionTrouble) this.tell("runner:unreachable");
      throw error;
    } finally {
      if (!signal.aborted) this.update();
    }
  }

  template() {
    return html`
      <header class="page-header">
        <h1 tabindex="-1">Models</h1>
        <p>What training has registered: versions, their measures, and which one is in use.</p>
      </header>
      <section class="panel" aria-label="Registered models" aria-busy=${this.#models === null && !this.#problem}>${this.#list()}</section>`;
  }

  #list() {
    if (this.#models === null) {
      if (this.#problem) return html`<div class="empty">${icons.broken}<p class="lead">The models cannot be loaded right now.</p><p class="quiet">${this.#problem.message} This page tries again by itself.</p></div>`;
      return html`<p class="visually-hidden">Loading</p><span class="placeholder-line"></span><span class="placeholder-line"></span>`;
    }
    if (this.#models.length === 0) return html`<div class="empty">${icons.folder}<p class="lead">No model yet.</p><p class="quiet">Run <a href=${linkTo("functions", "train")}>train</a>: it registers its model here.</p></div>`;
    return html`
      ${this.#problem ? html`<p class="note" data-tone="waiting">Not up to date: ${this.#problem.message}</p>` : nothing}
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
