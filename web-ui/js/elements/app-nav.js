import { AppElement, define } from "../element.js";
import { linkTo } from "../routes.js";
import { html, ifDefined } from "../vendor.js";

const PAGES = [
  ["overview", "Overview"],
  ["functions", "Functions"],
  ["invocations", "Invocations"],
  ["models", "Models"],
  ["system", "System"],
];

/** The pages of the dashboard. */
class AppNav extends AppElement {
  static inputs = ["current"];

  template() {
    return html`
      <nav aria-label="Pages">
        <ul>
          ${PAGES.map(([page, words]) => html`<li><a href=${linkTo(page === "overview" ? "" : page)} aria-current=${ifDefined(page === this.current ? "page" : undefined)}>${words}</a></li>`)}
        </ul>
      </nav>`;
  }
}

define("app-nav", AppNav);
