import { AppElement, define } from "../element.js";
import { html, nothing } from "../vendor.js";

/** Says at the foot of the window that the runner does not answer, and when it is back. It covers nothing and moves nothing. */
class ConnectionNotice extends AppElement {
  #state = "fine";
  #timer = null;

  connected(signal) {
    document.addEventListener("health", (event) => this.#heard(event.detail.isReachable), { signal });
  }

  disconnected() {
    clearTimeout(this.#timer);
  }

  #heard(isReachable) {
    if (!isReachable) {
      clearTimeout(this.#timer);
      this.#state = "lost";
    } else if (this.#state === "lost") {
      this.#state = "back";
      this.#timer = setTimeout(() => this.#rest(), 4000);
    }
    this.update();
  }

  #rest() {
    this.#state = "fine";
    this.update();
  }

  template() {
    return html`<div class="notice" role="alert" data-state=${this.#state}>
      ${this.#state === "lost" ? html`<span class="spinner" aria-hidden="true"></span>The function runner does not answer. It may be restarting; this page goes on by itself when it is back.` : nothing}
      ${this.#state === "back" ? "The function runner is back." : nothing}
    </div>`;
  }
}

define("connection-notice", ConnectionNotice);
