import { AppElement, define } from "../element.js";
import { progressWords } from "../format.js";
import { html, nothing } from "../vendor.js";

/** How far a running invocation says to be: a bar when the total is known, and its message. */
class ProgressBar extends AppElement {
  static inputs = ["progress"];

  template() {
    const progress = this.progress;
    if (!progress) return nothing;
    const bar = progress.total === null ? html`<progress aria-label="Progress"></progress>` : html`<progress aria-label="Progress" max=${progress.total} .value=${progress.done}></progress>`;
    return html`<div class="so-far">${bar}<p class="quiet wrap">${progressWords(progress)}${progress.message ? html` · ${progress.message}` : nothing}</p></div>`;
  }
}

define("progress-bar", ProgressBar);
