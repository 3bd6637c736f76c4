import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { html, ifDefined, nothing, repeat } from "../vendor.js";

const NOTES = { invalid: "has a problem", build_failed: "build failed", building: "building" };

/** The functions to choose from. */
class FunctionNav extends AppElement {
  static inputs = ["functions", "current"];

  template() {
    return html`
      <nav aria-label="Functions">
        <h2 class="section-title">Functions</h2>
        <ul>
          ${this.functions === undefined
            ? [1, 2].map(() => html`<li aria-hidden="true"><span class="placeholder-line"></span></li>`)
            : repeat(this.functions, (one) => one.name, (one) => html`
                <li>
                  <a href=${address.function(one.name)} aria-current=${ifDefined(one.name === this.current ? "page" : undefined)}>
                    <span class="name">${one.name}</span>
                    ${NOTES[one.state] ? html`<span class="note" data-tone=${one.state === "building" ? "waiting" : "bad"}>${NOTES[one.state]}</span>` : nothing}
                  </a>
                </li>`)}
        </ul>
      </nav>`;
  }
}

define("function-nav", FunctionNav);
