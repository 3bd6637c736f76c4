import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { isFinal, lastLines, logText } from "../format.js";
import { follow } from "../live.js";
import { html, nothing } from "../vendor.js";
import "./copy-button.js";

const LINES = 2000;

/**
 * The last lines of an invocation's log, as text, followed live until it is closed. Tells the elements above what it hears of the
 * invocation on the way: "invocation:moved" when its status changed or its end is known, "invocation:progress".
 */
class LogPane extends AppElement {
  static inputs = ["invocationId", "status", "container"];
  #text = null;
  #isOver = false;
  #isRemoved = false;
  #isTroubled = false;
  #following = null;

  connected() {
    this.#follow();
  }

  disconnected() {
    this.#following.abort();
  }

  changed(name, _value, before) {
    if (name === "invocationId" && before !== undefined && this.isConnected) this.#follow();
  }

  #follow() {
    this.#following?.abort();
    this.#following = new AbortController();
    this.#text = null;
    this.#isOver = false;
    this.#isRemoved = false;
    let status = this.status;
    const on = {
      status: (data) => {
        this.#isTroubled = false;
        if (data.status !== status) this.tell("invocation:moved");
        status = data.status;
        this.update();
      },
      progress: (data) => this.tell("invocation:progress", data),
      log: ({ text }) => {
        this.#text = lastLines((this.#text ?? "") + text, LINES);
        this.update();
      },
      end: (data) => {
        this.#isOver = true;
        this.#isRemoved = data.log_state === "expired";
        this.tell("invocation:moved");
        this.update();
      },
      trouble: () => {
        this.#isTroubled = true;
        this.update();
      },
    };
    follow(this.invocationId, LINES, on, this.#following.signal);
  }

  #words() {
    if (this.#text) return logText(this.#text);
    if (this.#isRemoved) return "The log was removed: logs are not kept for ever.";
    if (this.#isOver) return this.container ? "There is no log for this invocation." : "Nothing was printed: it had no container.";
    if (this.#isTroubled) return "The log cannot be followed right now; trying again.";
    return isFinal(this.status) ? "Loading the log…" : "Nothing has been printed yet.";
  }

  template() {
    return html`
      <section class="log-pane" aria-label="Log">
        <header>
          <h3>Log</h3>
          <span class="spacer"></span>
          ${this.container ? html`
            <copy-button .text=${logText(this.#text ?? "")} .name=${"log"}></copy-button>
            <a class="quiet-button" href=${address.log(this.invocationId)} target="_blank" rel="noopener">Whole log</a>` : nothing}
        </header>
        <pre tabindex="0" role="region" aria-label="Log text" data-empty=${this.#text ? "no" : "yes"} .textContent=${this.#words()}></pre>
      </section>`;
  }
}

define("log-pane", LogPane);
