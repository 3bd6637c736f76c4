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

  /** On a narrow screen the pages do not fit side by side; where one is has to be seen. */
  updated() {
    const link = this.querySelector("[aria-current]");
    if (link) this.scrollLeft += Math.min(0, link.offsetLeft - this.offsetLeft - this.scrollLeft) || Math.max(0, link.offsetLeft - this.offsetLeft + link.offsetWidth - this.scrollLeft - this.clientWidth);
  }

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
