import { api } from "../api.js";
import { AppElement, define } from "../element.js";
import { poll } from "../poll.js";
import { html } from "../vendor.js";

const PACE = 10_000;

/** The system's health in one word, with each check behind it. Tells "health" = {isReachable, isReady} after every look. */
class HealthState extends AppElement {
  #report = null;
  #problem = null;

  connected(signal) {
    const check = poll((attempt) => this.#check(attempt), () => (this.#report?.ready ? PACE : 2000), signal);
    document.addEventListener("runner:unreachable", () => this.#problem === null && check(), { signal });
    document.addEventListener("click", (event) => this.contains(event.target) || this.#close(), { signal });
    this.addEventListener("keydown", (event) => event.key === "Escape" && this.#close(), { signal });
  }

  async #check(signal) {
    try {
      this.#report = await api.ready(signal);
      this.#problem = null;
    } catch (error) {
      if (signal.aborted) return;
      this.#problem = error;
      throw error;
    } finally {
      if (!signal.aborted) {
        this.tell("health", { isReachable: this.#problem === null, isReady: this.#problem === null && this.#report.ready });
        this.update();
      }
    }
  }

  #close() {
    this.querySelector("details")?.removeAttribute("open");
  }

  #summary() {
    if (this.#problem) return { word: "Not reachable", tone: "bad" };
    if (!this.#report) return { word: "Checking", tone: "quiet" };
    if (this.#report.draining) return { word: "Shutting down", tone: "waiting" };
    return this.#report.ready ? { word: "Ready", tone: "good" } : { word: "Not ready", tone: "bad" };
  }

  template() {
    const { word, tone } = this.#summary();
    const checks = Object.entries(this.#report?.checks ?? {});
    return html`
      <details class="health">
        <summary data-tone=${tone}><span class="dot" aria-hidden="true"></span><span class="visually-hidden">System: </span><span role="status">${word}</span></summary>
        <div class="popover">
          ${this.#problem
            ? html`<p>${this.#problem.message}</p><p class="quiet">Looking again by itself.</p>`
            : html`<dl class="checks">
                ${checks.map(([name, check]) => html`
                  <div data-tone=${check.ok ? "good" : "bad"}>
                    <dt><span class="dot" aria-hidden="true"></span>${name}</dt>
                    <dd>${check.detail || (check.ok ? "ok" : "not ok")}</dd>
                  </div>`)}
              </dl>`}
        </div>
      </details>`;
  }
}

define("health-state", HealthState);
