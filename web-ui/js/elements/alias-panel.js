import { api } from "../api.js";
import { define } from "../element.js";
import { relativeTime, time } from "../format.js";
import { notUpToDate, placeholders } from "../parts.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./question-dialog.js";

const ACTIONS = { set: "moved", delete: "deleted", rollback: "rolled back", outside: "moved in MLflow" };

/** A model's aliases: where they point, who moved them when, and moving them, each change after a question. */
class AliasPanel extends WatchingElement {
  static inputs = ["model", "versions"];
  #aliases = null;
  #question = null;

  connected(signal) {
    this.watch(() => 8000, signal);
  }

  changed(name, value, before) {
    if (name !== "model" || before === undefined || value === before) return;
    this.#aliases = null;
    this.look();
  }

  async read(signal) {
    this.#aliases = await api.aliases(this.model, signal);
  }

  #ask({ act, ...question }) {
    this.#question = { ...question, act: () => this.#do(act) };
    this.update();
  }

  #answered() {
    this.#question = null;
    this.update();
  }

  /** When somebody else was faster, what the alias means now is read anew before the refusal is shown. */
  async #do(act) {
    try {
      this.#aliases = await act();
    } catch (error) {
      if (error.status === 409) this.look();
      throw error;
    }
    this.update();
    this.tell("alias:moved");
  }

  #set(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    const alias = String(form.get("alias")).trim().replace(/^@/, "");
    const version = String(form.get("version"));
    if (!alias) return;
    const before = this.#aliases.aliases[alias] ?? null;
    this.#ask({
      title: before ? `Move @${alias} to version ${version}?` : `Let @${alias} mean version ${version}?`,
      detail: before ? `It means version ${before} now. Calls that name @${alias} use version ${version} from then on.` : `Calls can name @${alias} in place of a number.`,
      word: before ? "Move it" : "Set it",
      act: () => api.moveAlias(this.model, alias, version, before),
    });
  }

  #rollBack(alias) {
    const now = this.#aliases.aliases[alias] ?? null;
    const last = this.#aliases.history.find((one) => one.alias === alias);
    this.#ask({
      title: `Roll @${alias} back?`,
      detail: `It means version ${now} now; before its last move it ${last?.from_version ? `meant version ${last.from_version}` : "did not exist"}.`,
      word: "Roll back",
      act: () => api.rollBackAlias(this.model, alias, now),
    });
  }

  #delete(alias) {
    const now = this.#aliases.aliases[alias];
    this.#ask({
      title: `Delete @${alias}?`,
      detail: `Calls that name @${alias} fail from then on. It can be rolled back.`,
      word: "Delete it",
      act: () => api.deleteAlias(this.model, alias, now),
    });
  }

  template() {
    const aliases = this.#aliases;
    return html`<section class="panel" aria-label="Aliases">
      <h2>Aliases</h2>
      ${aliases === null ? this.#instead() : html`
        ${notUpToDate(this.problem)}
        ${Object.keys(aliases.aliases).length === 0 ? html`<p class="quiet">There is none yet. With one, such as <code>champion</code>, calls name what is in use and not a number.</p>` : html`
          <dl class="rows">${Object.entries(aliases.aliases).map(([alias, version]) => html`<div><dt>@${alias}</dt><dd class="alias-line"><span>version ${version}</span>
            ${aliases.history.some((one) => one.alias === alias) ? html`<button type="button" class="quiet-button" @click=${() => this.#rollBack(alias)}>Roll back</button>` : nothing}
            <button type="button" class="quiet-button" @click=${() => this.#delete(alias)}>Delete</button></dd></div>`)}</dl>`}
        <form class="filters" aria-label="Set an alias" @submit=${(event) => this.#set(event)}>
          <label><span>Alias</span><input class="form-control" name="alias" required maxlength="100" placeholder="champion" list="known-aliases"></label>
          <datalist id="known-aliases">${Object.keys(aliases.aliases).map((one) => html`<option value=${one}></option>`)}</datalist>
          <label><span>Version</span><select class="form-select" name="version">${(this.versions ?? []).map((one) => html`<option value=${one.version}>${one.version}</option>`)}</select></label>
          <button class="btn btn-primary">Set alias</button>
        </form>
        ${this.#history(aliases.history)}`}
      <question-dialog .question=${this.#question} @question:closed=${() => this.#answered()}></question-dialog>
    </section>`;
  }

  #instead() {
    if (this.problem) return html`<p class="note" data-tone="waiting">The aliases cannot be loaded right now: ${this.problem.message} This page tries again by itself.</p>`;
    return placeholders(1);
  }

  #history(history) {
    if (history.length === 0) return nothing;
    return html`<details class="fold"><summary>${history.length} ${history.length === 1 ? "move" : "moves"}</summary>
      <div class="table-scroll" tabindex="0" role="group" aria-label="Moves"><table class="table table-sm">
        <thead><tr><th scope="col">When</th><th scope="col">Alias</th><th scope="col">What</th><th scope="col">From</th><th scope="col">To</th><th scope="col">By</th></tr></thead>
        <tbody>${repeat(history, (one) => `${one.alias}${one.at}`, (one) => html`<tr><td><time datetime=${one.at} title=${time(one.at)}>${relativeTime(one.at)}</time></td><td>@${one.alias}</td><td>${one.action === "set" && one.from_version === null ? "set" : ACTIONS[one.action] ?? one.action}</td><td>${one.from_version ?? "–"}</td><td>${one.to_version ?? "–"}</td><td class="quiet">${one.caller ?? "–"}</td></tr>`)}</tbody>
      </table></div></details>`;
  }
}

define("alias-panel", AliasPanel);
