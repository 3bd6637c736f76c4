import { AppElement, define } from "../element.js";
import { prettyJson } from "../format.js";
import { html, nothing } from "../vendor.js";
import "./copy-button.js";

/** The value as it came, one click away. */
class RawJson extends AppElement {
  static inputs = ["value", "heading"];
  #isOpen = false;

  template() {
    const title = this.heading || "Raw JSON";
    return html`<details class="fold" @toggle=${(event) => this.#toggled(event.target.open)}>
      <summary>${title}</summary>
      ${this.#isOpen ? html`<div class="code-block"><copy-button .text=${prettyJson(this.value)} .name=${title}></copy-button><pre tabindex="0" role="region" aria-label=${title}>${prettyJson(this.value)}</pre></div>` : nothing}
    </details>`;
  }

  #toggled(isOpen) {
    this.#isOpen = isOpen;
    this.update();
  }
}

define("raw-json", RawJson);
