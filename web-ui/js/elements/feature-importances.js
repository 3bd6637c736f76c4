import { AppElement, define } from "../element.js";
import { percent } from "../format.js";
import { html, svg } from "../vendor.js";

/** Whether a value is shares by name. */
export function areImportances(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0 && Object.values(value).every((share) => typeof share === "number" && share >= 0 && share <= 1);
}

/** How much each feature counts for the model, the most important first. */
class FeatureImportances extends AppElement {
  static inputs = ["value"];

  template() {
    const entries = Object.entries(this.value).sort(([, a], [, b]) => b - a);
    const largest = entries[0][1] || 1;
    return html`<table class="importances">
      <caption class="visually-hidden">Feature importances</caption>
      <tbody>${entries.map(([name, share]) => html`<tr><th scope="row">${name}</th><td>${bar(share / largest)}<span class="numeral">${percent(share)}</span></td></tr>`)}</tbody>
    </table>`;
  }
}

// SVG attributes, because the content policy forbids style attributes.
function bar(share) {
  return html`<svg class="importance-bar" height="10" aria-hidden="true">${svg`<rect class="fill" width=${`${share * 100}%`} height="10" rx="3"></rect>`}</svg>`;
}

define("feature-importances", FeatureImportances);
