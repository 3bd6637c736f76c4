import { address, api } from "../api.js";
import { AppElement, define } from "../element.js";
import { isFinal, logText } from "../format.js";
import { poll } from "../poll.js";
import { html, nothing } from "../vendor.js";
import "./copy-button.js";

const LINES = 2000;
const STOPPED = 3_600_000;

/**
 * The last lines of an invocation's log, as text. Reads it while the invocation runs, and when it has ended until nothing comes any
 * more: its last lines are written after the answer. Without a container there is nothing to read.
 */
class LogPane extends AppElement {
  static inputs = ["invocationId", "status", "container"];
  #text = null;
  #problem = null;
  #isOver = false;
  #look = null;

  connected(signal) {
    this.#look = poll((attempt) => this.#read(attempt), () => (this.#isOver ? STOPPED : 2000), signal);
  }

  changed(name, _value, before) {
    if (before === undefined) return;
    if (name === "invocationId") this.#text = null;
    this.#look?.();
  }

  async #read(signal) {
    const isOver = isFinal(this.status);
    if (!this.container) {
      this.#isOver = isOver;
      return;
    }
    try {
      const text = logText(await api.log(this.invocationId, LINES, signal));
      this.#problem = null;
      this.#isOver = isOver && text === this.#text;
      this.#text = text;
    } catch (error) {
      if (signal.aborted) return;
      this.#problem = error;
      this.#isOver = isOver && error.status === 404;
      if (!this.#isOver) throw error;
    } finally {
      if (!signal.aborted) this.update();
    }
  }

  #words() {
    if (this.#text) return this.#text;
    const isOver = isFinal(this.status);
    const isMissing = !this.container || this.#problem?.status === 404;
    if (this.#text === "" && isOver) return "Nothing was printed.";
    if (this.#text === "" || (isMissing && !isOver)) return "Nothing has been printed yet.";
    if (isMissing) return "There is no log for this invocation.";
    if (this.#problem) return this.#problem.message;
    return "Loading the log…";
  }

  template() {
    return html`
      <section class="log-pane" aria-label="Log">
        <header>
          <h3>Log</h3>
          <span class="spacer"></span>
          ${this.container ? html`
            <copy-button .text=${this.#text ?? ""} .name=${"log"}></copy-button>
            <a class="quiet-button" href=${address.log(this.invocationId)} target="_blank" rel="noopener">Whole log</a>` : nothing}
        </header>
        <pre tabindex="0" role="region" aria-label="Log text" data-empty=${this.#text ? "no" : "yes"} .textContent=${this.#words()}></pre>
      </section>`;
  }
}

define("log-pane", LogPane);
