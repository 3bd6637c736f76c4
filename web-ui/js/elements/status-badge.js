import { AppElement, define } from "../element.js";
import { status } from "../format.js";
import { html } from "../vendor.js";

/** An invocation's status, as a word and a colour. */
class StatusBadge extends AppElement {
  static inputs = ["status"];

  template() {
    const { word, tone } = status(this.status);
    return html`<span class="status" data-tone=${tone}><span class="dot" aria-hidden="true"></span>${word}</span>`;
  }
}

define("status-badge", StatusBadge);
