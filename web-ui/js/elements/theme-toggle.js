import { icons } from "../icons.js";
import { AppElement, define } from "../element.js";
import { html } from "../vendor.js";

const ORDER = ["auto", "light", "dark"];
const NAMES = { auto: "as the system", light: "light", dark: "dark" };

/** One button that goes round: as the system, light, dark. The choice itself lives in theme.js. */
class ThemeToggle extends AppElement {
  connected(signal) {
    document.addEventListener("theme:change", () => this.update(), { signal });
  }

  template() {
    const choice = document.documentElement.dataset.themeChoice;
    const next = ORDER[(ORDER.indexOf(choice) + 1) % ORDER.length];
    const label = `Colours: ${NAMES[choice]}. Change to ${NAMES[next]}`;
    return html`<button type="button" class="icon-button" aria-label=${label} title=${label} @click=${() => this.tell("theme:choose", next)}>${icons[choice]}</button>`;
  }
}

define("theme-toggle", ThemeToggle);
