import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { html, ifDefined, nothing, repeat } from "../vendor.js";

const NOTES = { invalid: "has a problem", build_failed: "build failed", building: "building", broken: "does not start" };

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
                    ${note(one)}
                  </a>
                </li>`)}
        </ul>
      </nav>`;
  }
}

function note({ state, pool }) {
  const kind = state === "ready" ? pool.state : state;
  return NOTES[kind] ? html`<span class="note" data-tone=${kind === "building" ? "waiting" : "bad"}>${NOTES[kind]}</span>` : nothing;
}

define("function-nav", FunctionNav);
