import { AppElement, define } from "../element.js";
import { number, percent } from "../format.js";
import { html, nothing, svg } from "../vendor.js";

/** The measures of a training, by name; of all of them more is better. */
export const MEASURES = [
  ["accuracy", "Accuracy"],
  ["precision", "Precision"],
  ["recall", "Recall"],
  ["f1_score", "F1 score"],
];

/** The names in a result that these cards show. */
export function measuresIn(result) {
  return MEASURES.map(([name]) => name).filter((name) => typeof result?.[name] === "number");
}

/** The four measures of a training, one card each. */
class MetricCards extends AppElement {
  static inputs = ["result"];

  template() {
    return html`<dl class="metrics">${MEASURES.map(([name, label]) => {
      const value = this.result?.[name];
      return typeof value === "number" ? html`<div class="metric"><dt>${label}</dt><dd title=${number(value)}>${percent(value)}</dd>${bar(value)}</div>` : nothing;
    })}</dl>`;
  }
}

// SVG attributes, because the content policy forbids style attributes.
function bar(share) {
  const width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return html`<svg class="metric-bar" height="4" aria-hidden="true"><rect class="track" width="100%" height="4" rx="2"></rect>${svg`<rect class="fill" width=${width} height="4" rx="2"></rect>`}</svg>`;
}

define("metric-cards", MetricCards);
