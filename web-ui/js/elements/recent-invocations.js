import { address, api } from "../api.js";
import { define } from "../element.js";
import { duration, isFinal, percent, relativeTime, startKind, time } from "../format.js";
import { icons } from "../icons.js";
import { html, nothing, repeat } from "../vendor.js";
import { WatchingElement } from "../watching.js";
import "./status-badge.js";

const STEP = 20;
const MOST = 200;

/** The latest invocations of all functions: looked at again after every call, and gently while the page is visible. */
class RecentInvocations extends WatchingElement {
  #invocations = null;
  #hasMore = false;
  #limit = STEP;

  connected(signal) {
    this.watch(() => this.#pace(), signal, ["invocation:started", "invocation:finished"]);
  }

  async read(signal) {
    const { invocations, next } = await api.invocations(this.#limit, signal);
    this.#invocations = invocations;
    this.#hasMore = Boolean(next) && this.#limit < MOST;
  }

  #pace() {
    return this.#invocations?.some((one) => !isFinal(one.status)) ? 2000 : 6000;
  }

  #older() {
    this.#limit = Math.min(this.#limit * 2, MOST);
    this.look();
  }

  template() {
    return html`
      <section class="recent" aria-labelledby="recent-title">
        <h2 class="section-title" id="recent-title">Recent invocations ${this.problem && this.#invocations ? html`<span class="note" data-tone="waiting">not up to date</span>` : nothing}</h2>
        ${this.#list()}
      </section>`;
  }

  #list() {
    if (this.#invocations === null) {
      if (this.problem) return html`<div class="empty small">${icons.broken}<p>The list cannot be loaded right now.</p><p class="quiet">${this.problem.message}</p></div>`;
      return html`<ol aria-busy="true">${[1, 2, 3, 4].map(() => html`<li aria-hidden="true"><span class="placeholder-line"></span></li>`)}</ol>`;
    }
    if (this.#invocations.length === 0) return html`<div class="empty small">${icons.list}<p>No invocations yet.</p><p class="quiet">Every call is kept here with its log, also those from curl.</p></div>`;
    return html`
      <ol>${repeat(this.#invocations, (one) => one.invocation_id, (one) => this.#row(one))}</ol>
      ${this.#hasMore ? html`<button type="button" class="btn btn-quiet" @click=${() => this.#older()}>Show older</button>` : nothing}`;
  }

  #row(one) {
    const isOver = isFinal(one.status);
    return html`<li>
      <a href=${address.invocation(one.invocation_id)}>
        <status-badge .status=${one.status}></status-badge>
        <span class="name">${one.function}</span>
        <time datetime=${one.created_at} title=${time(one.created_at)}>${relativeTime(one.created_at)}</time>
        <span class="numeral">${isOver ? duration(one.timings?.total_ms) : one.progress?.total ? percent(one.progress.done / one.progress.total) : "…"}</span>
        <span class="quiet">${one.queue_position ? `place ${one.queue_position}` : startKind(one.start)}</span>
      </a>
    </li>`;
  }
}

define("recent-invocations", RecentInvocations);
