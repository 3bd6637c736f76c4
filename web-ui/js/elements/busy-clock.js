import { AppElement, define } from "../element.js";
import { elapsed } from "../format.js";
import { html } from "../vendor.js";

/** Time since `since` (milliseconds of performance.now()). Not announced: a clock that speaks is noise. */
class BusyClock extends AppElement {
  static inputs = ["since"];
  #timer = null;

  connected() {
    this.#timer = setInterval(() => this.update(), 100);
  }

  disconnected() {
    clearInterval(this.#timer);
  }

  template() {
    return html`<span class="clock" role="timer" aria-live="off">${elapsed(performance.now() - (this.since ?? performance.now()))}</span>`;
  }
}

define("busy-clock", BusyClock);
